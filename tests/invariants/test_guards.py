"""Triggers alone reject changes of guarded columns in every state, even by the table owner."""

from typing import Any

import pytest
from django.apps import apps
from psycopg import sql

from tests.invariants.attempts import Connection, refusal, unguarded
from tests.invariants.guards import BY_RIGHTS_ALONE, GUARDS, REMOVALS, WITH_OTHERS
from tests.invariants.matrix import MATRIX
from tests.invariants.test_every_column import candidates, differs, one_of_each_state, primary_key, update

MODELS = {model._meta.db_table: model for model in apps.get_models() if model._meta.db_table in MATRIX}
FORCED = {"executions_interaction": "DISPATCHED", "executions_awaitunit": "WAITING_EXTERNAL"}
"""Tables with more states than `rows` creates, and the state whose row is forced into the others."""


def row_in(database: Connection, table: str, state: str) -> Any:
    """Return the key of a row in `state`. If no row is in `state`, force one into it."""
    known = one_of_each_state(database, table)
    if state not in known:
        text = sql.SQL("UPDATE {} SET status = {} WHERE {} = {}")
        forced = known[state] = known[FORCED[table]]
        names = (sql.Identifier(table), sql.Literal(state), primary_key(table), sql.Literal(forced))
        unguarded(database, table, text.format(*names))
    return known[state]


def other_values(database: Connection, table: str) -> dict[str, list[sql.Composable]]:
    """Return alternative values for each column, including NULL for nullable columns.

    Generated columns are left out: PostgreSQL rejects every value before any trigger runs.
    """
    fields = {field.column: field for field in MODELS[table]._meta.concrete_fields}
    found = candidates(database, table)
    return {
        column: values if fields[column].null else values[1:]
        for column, values in found.items()
        if not fields[column].generated
    }


CASES = [(table, guard) for table, guards in GUARDS.items() for guard in guards]


@pytest.mark.parametrize(("table", "guard"), CASES, ids=lambda case: case if isinstance(case, str) else case.name)
def test_a_guarded_column_gets_no_other_value(database: Connection, table: str, guard: Any) -> None:
    values = other_values(database, table)
    columns = values if guard.columns == "*" else guard.columns.split()
    found = {}
    for state in guard.states.split() or one_of_each_state(database, table):
        with database.transaction(force_rollback=True):
            key = row_in(database, table, state)
            for column in columns:
                tried = [value for value in values[column] if differs(database, table, column, value, key)]
                assert tried, column
                for value in tried:
                    found[state, column, value.as_string()] = refusal(database, update(table, column, value), key)
    assert found == dict.fromkeys(found, guard.name)


def test_every_column_that_never_changes_has_a_guard() -> None:
    for table, expected in MATRIX.items():
        guards = GUARDS.get(table, [])
        guarded = {column for guard in guards for column in guard.columns.split()}
        placed = guarded | {*BY_RIGHTS_ALONE.get(table, "").split(), *WITH_OTHERS.get(table, "").split()}
        everything = any(guard.columns == "*" and not guard.states for guard in guards)
        assert everything or {*expected.never.split()} <= placed, table


@pytest.mark.parametrize("table", MATRIX)
def test_no_row_is_deleted(database: Connection, table: str) -> None:
    delete = sql.SQL("DELETE FROM {} WHERE {} = %s").format(sql.Identifier(table), primary_key(table))
    found = {refusal(database, delete, key) for key in one_of_each_state(database, table).values()}
    if table in REMOVALS:
        assert found == {REMOVALS[table][0]}
    else:
        assert not any("append_only" in name or "not_deleted" in name for name in found)


@pytest.mark.parametrize("table", REMOVALS)
def test_no_table_is_truncated(database: Connection, table: str) -> None:
    truncate = sql.SQL("TRUNCATE {} CASCADE").format(sql.Identifier(table))
    assert refusal(database, truncate) == REMOVALS[table][1]
