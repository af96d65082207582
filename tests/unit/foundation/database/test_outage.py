import psycopg
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError
from psycopg import errors

from foundation.database.postgresql.outage import is_outage, may_pass, rejects_values
from tests.cases import cases

OUTAGE, LATER, REJECTED, PROGRAM = (True, True, False), (False, True, False), (False, False, True), (False,) * 3


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


@cases(
    ("codes", "expected"),
    [
        ("08006 08P01 25006 28P01 53100 53300 57P01 57P03 58030", OUTAGE),
        ("0A000 25P03 25P04 26000 40001 40P01 42501 42P05 55P03 55006 57014 XX001 XX002", LATER),
        ("22003 22P05 23001 23514 54000 54001 P0001", REJECTED),
        ("42601 42P01 42703 25P02 XX000 99999", PROGRAM),
    ],
)
def test_the_code_decides_and_the_class_does_not(codes: str, expected: tuple[bool, ...]) -> None:
    for code in codes.split():
        cause = psycopg.Error()
        cause.sqlstate = code
        for error in (OperationalError, InternalError, ProgrammingError, DataError):
            outage = caused(error(), cause)
            assert (is_outage(outage), may_pass(outage), rejects_values(outage)) == expected, code


@cases(
    ("error", "expected"),
    [
        *((caused(error(), psycopg.OperationalError()), OUTAGE) for error in (OperationalError, InterfaceError)),
        *((error(), OUTAGE) for error in (OperationalError, InterfaceError)),
        (caused(DataError(), errors.DataError()), REJECTED),
        *((error, PROGRAM) for error in (None, ValueError(), IntegrityError(), ProgrammingError())),
    ],
)
def test_without_a_code_a_failed_connection_is_an_outage(error: Exception | None, expected: tuple[bool, ...]) -> None:
    assert (is_outage(error), may_pass(error), rejects_values(error)) == expected
