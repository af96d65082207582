"""Distinguishes errors during an outage of PostgreSQL, after which work stops, from errors of one statement."""

import psycopg
from django.db import IntegrityError, InterfaceError, OperationalError
from psycopg import errors

from foundation.database.postgresql.outage import is_outage
from tests.cases import cases


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


@cases(
    ("error", "expected"),
    [
        *((caused(OperationalError(), errors.lookup(each)()), True) for each in ("08006", "53100", "53300", "57P01")),
        (caused(OperationalError(), errors.lookup("57P03")()), True),
        *((caused(error(), psycopg.OperationalError()), True) for error in (OperationalError, InterfaceError)),
        *((error(), True) for error in (OperationalError, InterfaceError)),
        # A failed statement, or an error of the program.
        *((caused(OperationalError(), errors.lookup(each)()), False) for each in ("40P01", "54000", "55P03", "57014")),
        *((error, False) for error in (None, ValueError(), IntegrityError())),
    ],
)
def test_only_a_server_that_cannot_continue_or_is_lost_is_an_outage(error: Exception | None, expected: bool) -> None:
    assert is_outage(error) is expected
