from typing import Any, LiteralString

from django.apps import apps
from django.db.models import Field
from psycopg import sql

from tests.invariants.attempts import Connection, unguarded

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
    "character varying": ("''", "left({column}, -1) || 'x'", "'x'"),
    "text": ("''", "{column} || 'x'"),
    "timestamp with time zone": ("{column} + interval '1 day'", "now()"),
    "uuid": ("gen_random_uuid()",),
    "jsonb": ("jsonb_build_array({column})", "jsonb_build_object('a', {column})", "'[1]'"),
    "bytea": ("{column} || '\\x00'::bytea", "'\\x00'"),
    "ARRAY": ("array_append({column}, NULL)",),
}
COLUMNS = """
SELECT c.column_name, c.data_type, f.confrelid::regclass::text, a.attname
FROM information_schema.columns c
LEFT JOIN pg_constraint f ON f.contype = 'f' AND f.conrelid = c.table_name::regclass
    AND f.conkey = ARRAY[c.ordinal_position::smallint]
LEFT JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = f.confkey[1]
WHERE c.table_schema = 'public' AND c.table_name = %s
"""


def fields(table: str) -> dict[str, "Field[Any, Any]"]:
    return {str(field.column): field for field in MODELS[table]._meta.concrete_fields}


def other_values(database: Connection, table: str) -> dict[str, list[sql.Composable]]:
    """Return other values for each column: of its type, its choices, or the table that it refers to, and NULL.

    NOT NULL columns get no NULL, and generated columns no value: PostgreSQL rejects these before any trigger runs.
    """
    others = {}
    known = fields(table)
    for name, data_type, refers_to, key in database.execute(COLUMNS, [table]):
        column = sql.Identifier(table, name)
        values: list[sql.Composable] = [sql.SQL("NULL")] if known[name].null else []
        if refers_to:
            other = sql.SQL("(SELECT o.{key} FROM {table} o WHERE o.{key} IS DISTINCT FROM {column} LIMIT 1)")
            values.append(other.format(key=sql.Identifier(key), table=sql.Identifier(refers_to), column=column))
        elif known[name].choices:
            values += [sql.Literal(str(value)) for value, _ in known[name].choices or ()]
        elif not known[name].generated:
            values += [sql.SQL(value).format(column=column) for value in OTHER_VALUES[data_type]]
        others[name] = values
    return others


def key_column(table: str) -> str:
    return str(MODELS[table]._meta.pk_fields[0].column)


def keys_by_state(database: Connection, table: str, state: str) -> dict[str, Any]:
    """Return the key of one row for each value of the column `state`, or of one row under "" if that is empty."""
    column = sql.Identifier(state) if state else sql.SQL("''::text")
    query = sql.SQL("SELECT DISTINCT ON ({state}) {state}, {key} FROM {table} ORDER BY {state}, {key}")
    names = {"key": sql.Identifier(key_column(table)), "table": sql.Identifier(table)}
    return dict(database.execute(query.format(state=column, **names)))


def put_into(database: Connection, table: str, column: str, state: str, key: Any) -> None:
    unguarded(database, update(table, column, sql.Literal(state), key))


def update(table: str, column: str, value: sql.Composable, key: Any) -> sql.Composed:
    """Return an UPDATE of one column of the row `key`, which writes no row if the value is the same."""
    text = sql.SQL("UPDATE {table} SET {column} = {value} WHERE {key} = {row} AND {column} IS DISTINCT FROM {value}")
    return text.format(
        table=sql.Identifier(table),
        column=sql.Identifier(column),
        value=value,
        key=sql.Identifier(key_column(table)),
        row=sql.Literal(key),
    )
