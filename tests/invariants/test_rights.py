"""The database grants the application role exactly the rights that `RIGHTS` lists."""

from typing import Any

import psycopg
import pytest
from django.apps import apps
from psycopg import sql

from coordinator.postgresql.rights import EVERY_COLUMN, RIGHTS

Connection = psycopg.Connection[Any]

COLUMNS = """
SELECT c.relname, a.attname, has_column_privilege(c.oid, a.attnum, 'INSERT'),
    has_column_privilege(c.oid, a.attnum, 'UPDATE'), has_column_privilege(c.oid, a.attnum, 'REFERENCES')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
"""
TABLES = """
SELECT relname, has_table_privilege(oid, 'SELECT'), has_table_privilege(oid, 'DELETE'),
    has_table_privilege(oid, 'TRUNCATE') OR has_table_privilege(oid, 'TRIGGER')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')
"""
SEQUENCES = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND CASE relkind WHEN 'S' THEN has_sequence_privilege(oid, 'USAGE, SELECT, UPDATE') END
"""


def listed(columns: str, of: set[str]) -> set[str]:
    return of if columns == EVERY_COLUMN else set(columns.split())


def test_every_table_is_listed(ordinary: Connection) -> None:
    assert {name for name, *_ in ordinary.execute(TABLES)} == set(RIGHTS)
    assert {model._meta.db_table for model in apps.get_models(include_auto_created=True)} <= set(RIGHTS)


def test_the_rights_on_tables(ordinary: Connection) -> None:
    for name, select, delete, more in ordinary.execute(TABLES):
        assert (select, delete, more) == (True, RIGHTS[name].delete, False), name
    assert ordinary.execute(SEQUENCES).fetchall() == []


def test_the_rights_on_columns(ordinary: Connection) -> None:
    found = ordinary.execute(COLUMNS).fetchall()
    for name, rights in RIGHTS.items():
        columns = {column: granted for table, column, *granted in found if table == name}
        assert {column for column, granted in columns.items() if granted[0]} == listed(rights.insert, set(columns))
        assert {column for column, granted in columns.items() if granted[1]} == listed(rights.update, set(columns))
        assert not any(references for *_, references in columns.values())


@pytest.mark.parametrize("table", ["django_migrations", "django_content_type", "auth_permission", "auth_group"])
def test_the_application_role_cannot_write_tables_that_only_migrations_write(ordinary: Connection, table: str) -> None:
    for text in ("DELETE FROM {}", "UPDATE {} SET id = id", "INSERT INTO {} (id) VALUES (0)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), ordinary.transaction():
            ordinary.execute(sql.SQL(text).format(sql.Identifier(table)))
