from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models.fields import AutoFieldMixin
from psycopg import sql

from foundation.database.postgresql.rights import READ_ONLY, RIGHTS, Rights
from tests.invariants.attempts import NO_RIGHT, Connection, refusal
from tests.invariants.matrix import MATRIX
from tests.invariants.schema import MODELS, fields, key_column, keys_by_state, other_values, put_into, update
from tests.invariants.test_removals import HISTORY, MESSAGES, WORKERS

FORCED = {"executions_interaction": "DISPATCHED", "executions_awaitunit": "WAITING_EXTERNAL"}
"""Tables with more states than `rows` creates, and the state whose row is put into the others."""
UNTRUNCATED = {"executions_wireform", "executions_awaitunit", "executions_interaction"}
"""Tables that have no trigger against TRUNCATE."""
REMOVED_LATER = {
    "executions_execution",
    *HISTORY,
    "executions_campaign",
    "executions_campaignitem",
    "executions_schedulefire",
    "tenancy_invitation",
    *MESSAGES,
    *WORKERS,
}
"""Tables whose rows the role only deletes after a time, or with the row that they belong to."""


def states(database: Connection, table: str) -> list[str]:
    state = MATRIX[table].state
    choices = fields(table)[state].choices if state else None
    return list(dict.fromkeys([*keys_by_state(database, table, state), *(str(value) for value, _ in choices or ())]))


@contextmanager
def row_in(database: Connection, table: str, state: str) -> Iterator[Any]:
    """The key of a row in `state`. If no row is in it, put another row into it."""
    with database.transaction(force_rollback=True):
        keys = keys_by_state(database, table, MATRIX[table].state)
        if state not in keys:
            keys[state] = keys[FORCED.get(table, next(reversed(keys)))]
            put_into(database, table, MATRIX[table].state, state, keys[state])
        yield keys[state]


@pytest.mark.parametrize("table", MATRIX)
def test_which_columns_may_change(database: Connection, table: str) -> None:
    expected, unguarded = MATRIX[table], set()
    values = other_values(database, table)

    def accepted(key: Any, *, ordinary: bool) -> set[str]:
        return {
            column
            for column, others in values.items()
            if any(refusal(database, update(table, column, other, key), ordinary=ordinary) == "" for other in others)
        }

    for state in states(database, table):
        with row_in(database, table, state) as key:
            assert accepted(key, ordinary=True) == expected.changeable(state), state
            unguarded |= accepted(key, ordinary=False) - expected.changeable(state)
    assert unguarded <= {*expected.unguarded.split()}
    keys = {name for name, field in fields(table).items() if field.primary_key or field.remote_field}
    assert {*expected.unguarded.split()} - keys <= unguarded  # other rows may stand in the way of another key


@pytest.mark.parametrize("table", MATRIX)
def test_which_rows_may_be_deleted(database: Connection, table: str) -> None:
    delete = sql.SQL("DELETE FROM {} WHERE {} = {}")
    expected = MATRIX[table]
    for key in keys_by_state(database, table, expected.state).values():
        change = delete.format(sql.Identifier(table), sql.Identifier(key_column(table)), sql.Literal(key))
        assert (refusal(database, change, ordinary=True) == "") == expected.deletable
        verdict = refusal(database, change)
        assert verdict == (expected.kept_by or expected.append_only) or "_fk_" in verdict


@pytest.mark.django_db
def test_the_migrations_create_what_the_models_describe() -> None:
    """This includes each CHECK constraint, unique key and foreign key of a model."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


DISABLED = """
SELECT tgname FROM pg_trigger WHERE tgenabled <> 'O'
UNION SELECT conname FROM pg_constraint WHERE NOT convalidated
"""


def test_no_trigger_is_disabled_and_every_constraint_is_validated(database: Connection) -> None:
    assert database.execute(DISABLED).fetchall() == []


def test_every_table_is_in_the_matrix_and_none_with_history_is_truncated(database: Connection) -> None:
    assert MATRIX.keys() == MODELS.keys()
    query = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgtype & 32 = 32 AND NOT tgisinternal"
    triggers = dict(database.execute(query))
    kept = {table for table, expected in MATRIX.items() if expected.kept_by or expected.append_only}
    assert triggers.keys() == kept - UNTRUNCATED
    refusals = {table: refusal(database, f"TRUNCATE {table} CASCADE") for table in triggers}
    assert refusals == triggers


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
PERSON = "password last_login is_superuser username first_name last_name email is_staff is_active date_joined"
OF_DJANGO = {
    "auth_user": Rights(insert_but="id", update=PERSON),
    "django_admin_log": Rights(insert_but="id"),
    "django_session": Rights(insert_but="", update="session_key session_data expire_date", delete=True),
}
"""Privileges on framework tables with write access. All other framework tables are read-only."""
CHOSEN = {
    "tenancy_logincounter": "known_until",
    "tenancy_auditentry": "sequence at previous_hash hash",
    "tenancy_audithead": "tenant_id sequence hash",
    "executions_execution": """
        version attempt budget_start takeovers held next_due_at created_at updated_at lease_owner lease_protocol
        lease_worker lease_token lost_lease lease_expires_at running_since await_unit_id last_transition_key
        result finished_at error_code error_message family_due_at status event_count
    """,
    "executions_executionevent": "at",
    "executions_stepreport": "reported_at",
    "executions_deadletter": "created_at failed_step_index fingerprint group_id",
    "executions_failuregroup": """
        tenant_id step_index sample_message first_seen_at last_seen_at acknowledged_by acknowledged_at assignee note id
        release_id fingerprint error_code
    """,
    "executions_awaitunit": "answered_items created_at updated_at status",
    "executions_interaction": "first_deadline note channel claimed_by claimed_until delegate claim_changes",
    "executions_interactionevent": "at",
    "executions_hold": "ended_at ended_by end_reason started_at",
    "executions_campaignitem": "accepted_version code at new_execution_id outcome",
    **dict.fromkeys(("executions_resubmission", "executions_admissionreceipt", "executions_faileditems"), "created_at"),
    "executions_schedulefire": "execution_id created_at",
    "executions_notification": """
        id tenant_id execution_id channel_id document state attempts next_at error created_at finished_at
    """,
    "alerts_alert": "started_at silenced_by clear_since notified_at silenced_until resolved_at state",
    "alerts_alertevent": "at",
    "alerts_alertdelivery": "attempts error finished_at next_at created_at state",
}
"""The columns of new rows that only the database sets."""
TO_LOCK = {"releases_trustedkey": {"name"}}
"""Columns whose UPDATE privilege only serves to lock rows."""
SCHEMA = (
    "TRUNCATE releases_blob",
    "ALTER TABLE executions_execution DISABLE TRIGGER ALL",
    "ALTER TABLE executions_execution DROP CONSTRAINT execution_key_once",
    "DROP TABLE executions_executionevent",
    "DROP FUNCTION guard_execution CASCADE",
    "CREATE TABLE another (id int)",
    "SET session_replication_role = replica",
)


def test_the_role_has_the_rights_that_are_listed(ordinary: Connection) -> None:
    tables, columns = ordinary.execute(TABLES).fetchall(), ordinary.execute(COLUMNS).fetchall()
    assert {name for name, *_ in tables} == {*RIGHTS}
    assert {model._meta.db_table for model in apps.get_models(include_auto_created=True)} <= {*RIGHTS}
    assert ordinary.execute(SEQUENCES).fetchall() == []
    for name, select, delete, more in tables:
        rights = RIGHTS[name]
        assert (select, delete, more) == (True, rights.delete, False), name
        granted = {column: rights_of_column for table, column, *rights_of_column in columns if table == name}
        assert {column for column, (insert, _, _) in granted.items() if insert} == {*rights.insertable(granted)}
        assert {column for column, (_, update, _) in granted.items() if update} == {*rights.updatable(granted)}
        assert not any(references for _, _, references in granted.values()), name


def test_no_right_is_wider_than_its_use() -> None:
    """Triggers also reject these changes. Privileges are tested separately, so that each layer works alone."""
    for table, expected in MATRIX.items():
        right = RIGHTS[table]
        assert {*right.updatable(fields(table))} == expected.ever_changed | TO_LOCK.get(table, set()), table
        assert right.delete == (expected.deletable or table in REMOVED_LATER), table
        chosen = {*CHOSEN.get(table, "").split(), *(name for name, field in fields(table).items() if numbered(field))}
        assert {*right.insertable(fields(table))} == {*fields(table)} - chosen, table


def numbered(field: Any) -> bool:
    return bool(field.primary_key and (field.has_db_default() or isinstance(field, AutoFieldMixin)))


def test_the_rights_on_tables_of_the_framework() -> None:
    for table in RIGHTS.keys() - MATRIX.keys():
        right, expected = RIGHTS[table], OF_DJANGO.get(table, READ_ONLY)
        assert right.insert_but == expected.insert_but, table
        assert ({*right.update.split()}, right.delete) == ({*expected.update.split()}, expected.delete), table


def test_the_application_role_changes_neither_the_schema_nor_tables_of_migrations(database: Connection) -> None:
    for statement in SCHEMA:
        assert refusal(database, statement, ordinary=True) == NO_RIGHT, statement
    for table in ("django_migrations", "django_content_type", "auth_permission", "auth_group"):
        for text in ("DELETE FROM {}", "UPDATE {} SET id = id", "INSERT INTO {} (id) VALUES (0)"):
            assert refusal(database, text.format(table), ordinary=True) == NO_RIGHT
