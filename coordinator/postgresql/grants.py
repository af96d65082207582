"""Statements that grant the application role its rights (see `rights`), and nothing else.

The statements are run by `setup_database`, and again after each `migrate`, since only these rights reach a new table.
They take away first, so that a right that is no longer listed is gone.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from coordinator.postgresql.rights import EVERY_COLUMN, RIGHTS, Rights

SCHEMA = "public"


def database_grants(database: str, role: str) -> list[sql.Composed]:
    """The rights on the database and its schema. PUBLIC loses all of them, temporary tables included."""
    return [
        _statement(text, database=database, schema=SCHEMA, role=role)
        for text in (
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC, {role}",
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {role}",
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
        )
    ]


def table_grants(relations: Sequence[str], sequences: Sequence[str], role: str) -> list[sql.Composed]:
    """The rights on tables, views and sequences. The lists name those that exist and belong to the owner.

    Sequences get none: the columns that they fill are identity columns.
    """
    return [
        *_revocation("TABLE", relations, role),
        *_revocation("SEQUENCE", sequences, role),
        *(_table_grant(name, RIGHTS[name], role) for name in relations if name in RIGHTS),
    ]


def _revocation(kind: LiteralString, names: Sequence[str], role: str) -> list[sql.Composed]:
    if not names:
        return []
    objects = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in names)
    statement = sql.SQL("REVOKE ALL ON {kind} {objects} FROM PUBLIC, {role}")
    return [statement.format(kind=sql.SQL(kind), objects=objects, role=sql.Identifier(role))]


def _table_grant(name: str, rights: Rights, role: str) -> sql.Composed:
    granted: list[sql.Composable] = [sql.SQL("SELECT")]
    granted += _column_grant("INSERT", rights.insert)
    granted += _column_grant("UPDATE", rights.update)
    granted += [sql.SQL("DELETE")] if rights.delete else []
    return sql.SQL("GRANT {rights} ON TABLE {table} TO {role}").format(
        rights=sql.SQL(", ").join(granted), table=sql.Identifier(SCHEMA, name), role=sql.Identifier(role)
    )


def _column_grant(right: LiteralString, columns: str) -> list[sql.Composable]:
    if columns == EVERY_COLUMN:
        return [sql.SQL(right)]
    named = sql.SQL(", ").join(map(sql.Identifier, columns.split()))
    return [sql.SQL(right + " ({})").format(named)] if columns else []


def _statement(text: LiteralString, **names: str) -> sql.Composed:
    return sql.SQL(text).format(**{key: sql.Identifier(name) for key, name in names.items()})
