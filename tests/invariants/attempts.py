"""Runs statements and reports the constraint or trigger that rejects them, immediately or at the commit."""

from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.servers import ORDINARY_URL

Connection = psycopg.Connection[Any]
NO_RIGHT = "no right"


def refusal(connection: Connection, statement: str | sql.Composed, *parameters: Any, ordinary: bool = False) -> str:
    """Return the name of the constraint or trigger that rejects `statement`, or "" if it could be committed.

    For NOT NULL, return the name of the column. The statement is always rolled back. If `ordinary` is true, the
    application role runs it, and the result is NO_RIGHT if that role lacks a privilege.
    """
    try:
        with connection.transaction(force_rollback=True):
            if ordinary:
                connection.execute("SELECT set_config('role', %s, true)", [urlsplit(ORDINARY_URL).username])
            connection.execute(statement, parameters or None)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.errors.InsufficientPrivilege:
        return NO_RIGHT
    except psycopg.errors.IntegrityError as error:
        return str(error.diag.constraint_name or error.diag.column_name)
    return ""


def unguarded(connection: Connection, table: str, statement: str | sql.Composed) -> None:
    """Run `statement`, which changes `table`, with the triggers of that table disabled."""
    name = sql.Identifier(table)
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name))
    assert connection.execute(statement).rowcount
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(name))
    connection.execute("SET CONSTRAINTS ALL DEFERRED")
