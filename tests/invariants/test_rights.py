"""The database grants the application role exactly the rights that `RIGHTS` lists."""

from typing import Any

import psycopg
import pytest
from django.apps import apps
from psycopg import sql

from foundation.database.postgresql.rights import EVERY_COLUMN, READ_ONLY, RIGHTS, Rights
from tests.invariants.guards import WITH_OTHERS
from tests.invariants.matrix import MATRIX
from tests.invariants.test_new_rows import NEW_ROWS
from tests.invariants.test_removals import HISTORY

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

PERSON = """
    password last_login is_superuser username first_name last_name email is_staff is_active date_joined
"""
OF_DJANGO = {
    "auth_user": Rights(insert=PERSON, update=PERSON),
    "django_admin_log": Rights(
        insert="action_time object_id object_repr action_flag change_message content_type_id user_id"
    ),
    "django_session": Rights(insert=EVERY_COLUMN, update=EVERY_COLUMN, delete=True),
}
"""Privileges on framework tables with write access. All other framework tables are read-only."""
TO_LOCK = {"releases_trustedkey": {"name"}}
"""Columns whose UPDATE privilege only serves to lock rows."""
OF_DRAFTS = {"executions_campaign", "executions_campaignitem"}
"""Tables whose rows are deleted only if they belong to a draft: see `test_campaign_drafts`."""
OF_ALERTS = {"alerts_alert", "alerts_alertevent", "alerts_alertdelivery"}
"""Tables whose rows are deleted only a day after their end, or with their alert: see `test_alerts`."""
EVENT = {"execution_id", "sequence", "kind", "status", "actor", "data"}


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


def test_the_rights_on_tables_of_the_framework() -> None:
    for table in RIGHTS.keys() - MATRIX.keys():
        expected = OF_DJANGO.get(table, READ_ONLY)
        found = RIGHTS[table]
        assert (found.insert.split(), found.update.split(), found.delete) == (
            expected.insert.split(),
            expected.update.split(),
            expected.delete,
        ), table


@pytest.mark.parametrize("table", MATRIX)
def test_no_right_is_wider_than_its_use(table: str) -> None:
    """Triggers also reject these changes. Privileges are tested separately, so that each layer works alone."""
    found, expected = RIGHTS[table], MATRIX[table]
    changeable = {column for state in expected.in_state for column in expected.changeable(state)}
    together = {*WITH_OTHERS.get(table, "").split()} | TO_LOCK.get(table, set())
    assert {*found.update.split()} == changeable | together
    written = [set(row.values) for row in NEW_ROWS if row.table == table and row.ordinary]
    written = written or [EVENT if found.insert else set()]
    assert {*found.insert.split()} == written[0]
    assert found.delete == (expected.deletable or table in {"executions_execution", *HISTORY, *OF_DRAFTS, *OF_ALERTS})
