"""Runs statements and reports the constraint or trigger that rejects them, immediately or at the commit."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.servers import ORDINARY_URL

Connection = psycopg.Connection[Any]
Statement = str | sql.Composed
NO_RIGHT = "no right"
ROLE = urlsplit(ORDINARY_URL).username
ATTEMPT = """
CREATE FUNCTION pg_temp.attempt(statement text, role text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE refused_by text; refused_column text; written bigint;
BEGIN
    BEGIN
        PERFORM set_config('role', role, true);
        EXECUTE statement;
        GET DIAGNOSTICS written = ROW_COUNT;
        SET CONSTRAINTS ALL IMMEDIATE;
        RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = written;
    EXCEPTION
        WHEN SQLSTATE 'ZZ000' THEN RETURN CASE SQLERRM WHEN '0' THEN 'no row' ELSE '' END;
        WHEN insufficient_privilege THEN RETURN 'no right';
        WHEN integrity_constraint_violation OR generated_always THEN
            GET STACKED DIAGNOSTICS refused_by = CONSTRAINT_NAME, refused_column = COLUMN_NAME;
            RETURN coalesce(nullif(refused_by, ''), refused_column);
    END;
END $$
"""
"""Runs a statement with the rights of a role and undoes it. Returns what rejects it."""


def refusal(database: Connection, statement: Statement, *, ordinary: bool = False) -> str:
    """Return the name of the constraint or trigger that rejects `statement`, or "" if it could be committed.

    For NOT NULL, return the name of the column. The statement is always undone. If `ordinary` is true, the application
    role runs it, and the result is NO_RIGHT if that role lacks a privilege. If it writes no row, return "no row".
    """
    text = statement if isinstance(statement, str) else statement.as_string(database)
    row = database.execute(
        "SELECT pg_temp.attempt(%s, %s)", [text, ROLE if ordinary else database.info.user]
    ).fetchone()
    assert row
    return str(row[0])


def unguarded(database: Connection, statement: Statement) -> None:
    """Run `statement`, which changes one table, with the triggers of that table disabled."""
    text = statement if isinstance(statement, str) else statement.as_string(database)
    first, second, third, *_ = text.split()
    name = sql.Identifier((second if first == "UPDATE" else third).strip('"'))
    database.execute("SET CONSTRAINTS ALL IMMEDIATE")
    database.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name))
    assert database.execute(text).rowcount
    database.execute("SET CONSTRAINTS ALL IMMEDIATE")
    database.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(name))
    database.execute("SET CONSTRAINTS ALL DEFERRED")


def results(
    database: Connection, statements: Iterable[str], *, setup: str = "", ordinary: bool = True
) -> dict[str, str]:
    """Return what rejects each of the statements, after those of `setup`, which run without triggers and are undone."""
    with database.transaction(force_rollback=True):
        for statement in filter(str.strip, setup.split(";")):
            unguarded(database, statement)
        return {statement: refusal(database, statement, ordinary=ordinary) for statement in statements}
