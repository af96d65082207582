"""Raw SQL of the application role on every column of every table, compared with the matrix of allowed changes."""

from typing import Any, LiteralString

import psycopg
import pytest
from django.apps import apps
from psycopg import sql

from executions.models.states import TERMINAL, State
from foundation.database.postgresql.rights import RIGHTS
from tests.invariants.copies import copy_of
from tests.invariants.matrix import MATRIX

Connection = psycopg.Connection[Any]
APPS = ("tenancy", "releases", "executions", "alerts", "coordinator")
MODELS = {
    model._meta.db_table: model
    for app in APPS
    for model in apps.get_app_config(app).get_models()
    if model._meta.managed  # unmanaged models are views
}
OTHER_VALUES: dict[str, tuple[LiteralString, ...]] = {
    "bigint": ("{column} + 1000", "1000"),
    "integer": ("{column} + 1000", "1000", "5"),
    "smallint": ("{column} + 1",),
    "numeric": ("{column} + 1", "1"),
    "double precision": ("{column} + 1", "1"),
    "boolean": ("NOT {column}",),
    "character varying": ("left({column}, -1) || 'x'", "'x'"),
    "text": ("{column} || 'x'",),
    "timestamp with time zone": ("{column} + interval '1 day'", "now()"),
    "uuid": ("gen_random_uuid()",),
    "jsonb": ("jsonb_build_array({column})", "'[1]'"),
    "bytea": ("{column} || '\\x00'::bytea", "'\\x00'"),
    "ARRAY": ("array_append({column}, '1')",),
}
COLUMNS = """
SELECT c.column_name, c.data_type, f.confrelid::regclass::text, a.attname
FROM information_schema.columns c
LEFT JOIN pg_constraint f ON f.contype = 'f' AND f.conrelid = c.table_name::regclass
    AND f.conkey = ARRAY[c.ordinal_position::smallint]
LEFT JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = f.confkey[1]
WHERE c.table_schema = 'public' AND c.table_name = %s
"""


def candidates(connection: Connection, table: str) -> dict[str, list[sql.Composable]]:
    """Return other values for each column: of its type, its choices, or the table that it refers to."""
    found = {}
    choices = {field.column: list(field.choices or ()) for field in MODELS[table]._meta.concrete_fields}
    for name, data_type, refers_to, key in connection.execute(COLUMNS, [table]):
        column = sql.Identifier(table, name)
        values: list[sql.Composable] = [sql.SQL("NULL")]
        if refers_to:
            other = sql.SQL("(SELECT o.{key} FROM {table} o WHERE o.{key} IS DISTINCT FROM {column} LIMIT 1)")
            values.append(other.format(key=sql.Identifier(key), table=sql.Identifier(refers_to), column=column))
        elif choices[name]:
            values += [sql.Literal(str(value)) for value, _ in choices[name]]
        else:
            values += [sql.SQL(value).format(column=column) for value in OTHER_VALUES[data_type]]
        found[name] = values
    return found


def accepts(connection: Connection, statement: sql.Composed, *parameters: Any) -> bool:
    """Return True if `statement` writes one row and could be committed. Roll it back."""
    try:
        with connection.transaction(force_rollback=True):
            written = connection.execute(statement, parameters).rowcount
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            return bool(written == 1)
    except (psycopg.errors.IntegrityError, psycopg.errors.InsufficientPrivilege, psycopg.errors.GeneratedAlways):
        return False


def one_of_each_state(connection: Connection, table: str) -> dict[str, Any]:
    """Return the key of one row for each state, or of one row under "" if the table has no states."""
    state = sql.Identifier(MATRIX[table].state) if MATRIX[table].state else sql.SQL("''::text")
    query = sql.SQL("SELECT DISTINCT ON ({state}) {state}, {key} FROM {table} ORDER BY {state}, {key}")
    return dict(connection.execute(query.format(state=state, key=primary_key(table), table=sql.Identifier(table))))


def key_column(table: str) -> str:
    return str(MODELS[table]._meta.pk.column)


def primary_key(table: str) -> sql.Identifier:
    return sql.Identifier(key_column(table))


def update(table: str, column: str, value: sql.Composable) -> sql.Composed:
    """Return an UPDATE of one column, if that changes it. The only parameter of the statement is the key of the row."""
    text = sql.SQL("UPDATE {table} SET {column} = {value} WHERE {key} = %s AND {column} IS DISTINCT FROM {value}")
    return text.format(table=sql.Identifier(table), column=sql.Identifier(column), value=value, key=primary_key(table))


def test_every_table_and_column_is_in_the_matrix(ordinary: Connection) -> None:
    assert MATRIX.keys() == MODELS.keys()
    for table, expected in MATRIX.items():
        assert expected.columns == set(candidates(ordinary, table)), table
        assert one_of_each_state(ordinary, table).keys() == expected.in_state.keys()


@pytest.mark.parametrize("table", MODELS)
def test_which_columns_may_change(ordinary: Connection, table: str) -> None:
    values = candidates(ordinary, table)
    changed = {
        state: {
            column
            for column in values
            if any(accepts(ordinary, update(table, column, value), key) for value in values[column])
        }
        for state, key in one_of_each_state(ordinary, table).items()
    }
    assert changed == {state: MATRIX[table].changeable(state) for state in MATRIX[table].in_state}


@pytest.mark.parametrize("table", MODELS)
def test_which_rows_may_be_deleted(ordinary: Connection, table: str) -> None:
    delete = sql.SQL("DELETE FROM {table} WHERE {key} = %s").format(table=sql.Identifier(table), key=primary_key(table))
    deleted = {accepts(ordinary, delete, key) for key in one_of_each_state(ordinary, table).values()}
    assert deleted == {MATRIX[table].deletable}


@pytest.mark.parametrize("table", [table for table in MATRIX if RIGHTS[table].insert])
def test_which_rows_may_be_copied(ordinary: Connection, table: str) -> None:
    """A copy has the columns that the role may insert. Times that the database sets are `now()`."""
    _, new_key, *_ = candidates(ordinary, table)[key_column(table)]
    key = key_column(table)
    statement = copy_of(table, sql.SQL("{} = %s").format(primary_key(table)), {key: new_key})
    chosen = one_of_each_state(ordinary, table)
    assert {state for state, key in chosen.items() if accepts(ordinary, statement, key)} == MATRIX[table].copied


@pytest.mark.parametrize("state", [state for state in State if state in TERMINAL])
def test_an_event_of_a_finished_execution_changes_nothing_else(ordinary: Connection, state: State) -> None:
    """Change one column together with the count of events, in a statement that adds the event."""
    table, note = (
        "executions_execution",
        sql.SQL("""
        WITH noted AS (UPDATE executions_execution SET event_count = event_count + 1{change} WHERE id = %s
            RETURNING id, event_count, status)
        INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT id, event_count, 'NOTED', status, '', '{{}}' FROM noted"""),
    )
    key = one_of_each_state(ordinary, table)[state]
    assert accepts(ordinary, note.format(change=sql.SQL("")), key)
    changed = {
        column
        for column, values in candidates(ordinary, table).items()
        for value in values
        if column != "event_count"
        and differs(ordinary, table, column, value, key)
        and accepts(ordinary, note.format(change=sql.SQL(", {} = {}").format(sql.Identifier(column), value)), key)
    }
    assert changed == set()


def differs(connection: Connection, table: str, column: str, value: sql.Composable, key: Any) -> bool:
    text = sql.SQL("SELECT {column} IS DISTINCT FROM {value} FROM {table} WHERE {key} = %s")
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "key": primary_key(table)}
    row = connection.execute(text.format(value=value, **names), [key]).fetchone()
    return bool(row and row[0])
