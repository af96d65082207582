"""Statements that insert copies of rows, with the columns that the application role may insert."""

from collections.abc import Mapping

from django.apps import apps
from django.contrib.postgres.functions import TransactionNow
from psycopg import sql

from foundation.database.postgresql.rights import RIGHTS

MODELS = {model._meta.db_table: model for model in apps.get_models()}


def copy_of(table: str, where: sql.Composable, changes: Mapping[str, sql.Composable]) -> sql.Composed:
    """Return a statement that inserts copies of the rows `where`, with other values for `changes`.

    It names only columns that the application role may insert. Times that the database sets are `now()` unless changed.
    """
    fields = MODELS[table]._meta.concrete_fields
    times = {field.column: sql.SQL("now()") for field in fields if field.db_default == TransactionNow()}
    values: dict[str, sql.Composable] = {name: sql.Identifier(name) for name in RIGHTS[table].insert.split()}
    values |= {name: now for name, now in times.items() if name in values}
    values |= {name: changes[name] for name in changes if name in values}
    return sql.SQL("INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE {where}").format(
        table=sql.Identifier(table),
        names=sql.SQL(", ").join(map(sql.Identifier, values)),
        values=sql.SQL(", ").join(values.values()),
        where=where,
    )
