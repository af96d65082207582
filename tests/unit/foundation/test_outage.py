"""Which errors mean that PostgreSQL is away: with these everything stops, and with all others the rest goes on."""

import psycopg
import pytest
from django.db import IntegrityError, InterfaceError, OperationalError
from psycopg import errors

from foundation.database.postgresql.outage import is_outage


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("sqlstate", ["08006", "53100", "53300", "57P01", "57P03"])
def test_a_server_that_cannot_go_on_is_an_outage(sqlstate: str) -> None:
    assert is_outage(caused(OperationalError(), errors.lookup(sqlstate)()))


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_connection_that_breaks_off_is_an_outage(error: type[Exception]) -> None:
    assert is_outage(caused(error(), psycopg.OperationalError()))
    assert is_outage(error())


@pytest.mark.parametrize("sqlstate", ["40P01", "54000", "55P03", "57014"])
def test_a_statement_that_fails_alone_is_no_outage(sqlstate: str) -> None:
    assert not is_outage(caused(OperationalError(), errors.lookup(sqlstate)()))


@pytest.mark.parametrize("error", [None, ValueError(), IntegrityError()])
def test_a_mistake_is_no_outage(error: Exception | None) -> None:
    assert not is_outage(error)
