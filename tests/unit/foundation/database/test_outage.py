"""Distinguishes errors during an outage of PostgreSQL, after which work stops, from errors of one statement."""

import psycopg
from django.db import IntegrityError, InterfaceError, OperationalError
from psycopg import errors

from foundation.database.postgresql.outage import is_outage
from tests.cases import cases


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


@cases("sqlstate", ["08006", "53100", "53300", "57P01", "57P03"])
def test_a_server_that_cannot_continue_is_an_outage(sqlstate: str) -> None:
    assert is_outage(caused(OperationalError(), errors.lookup(sqlstate)()))


@cases("error", [OperationalError, InterfaceError])
def test_a_lost_connection_is_an_outage(error: type[Exception]) -> None:
    assert is_outage(caused(error(), psycopg.OperationalError()))
    assert is_outage(error())


@cases("sqlstate", ["40P01", "54000", "55P03", "57014"])
def test_a_failed_statement_is_not_an_outage(sqlstate: str) -> None:
    assert not is_outage(caused(OperationalError(), errors.lookup(sqlstate)()))


@cases("error", [None, ValueError(), IntegrityError()])
def test_an_error_of_the_program_is_not_an_outage(error: Exception | None) -> None:
    assert not is_outage(error)
