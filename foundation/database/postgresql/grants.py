"""Statements that grant the application role its rights (see `rights`), and nothing else.

`setup_database` runs the statements. They run again after each `migrate`, because a new table has no rights yet. They
revoke first, so that the role loses each right that is no longer listed.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import LiteralString

from psycopg import sql

from foundation.database.postgresql.rights import EVERY_COLUMN, RIGHTS, Rights, named

SCHEMA = "public"


def database_grants(database: str, role: str) -> list[sql.Composed]:
    """Return the statements for the database and its schema. PUBLIC loses all rights, including temporary tables."""
    return [
        _statement(text, database=database, schema=SCHEMA, role=role)
        for text in (
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC, {role}",
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC, {role}",
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
        )
    ]


def table_grants(relations: Mapping[str, Collection[str]], sequences: Sequence[str], role: str) -> list[sql.Composed]:
    """Return the statements for tables and views.

    The arguments have all relations that the owner has, with their columns, and all sequences. Sequences get no rights,
    because identity columns need none. A column that does not exist, because a later migration adds it, gets none.
    """
    return [
        *_revocation("TABLE", list(relations), role),
        *_revocation("SEQUENCE", sequences, role),
        *(_table_grant(name, RIGHTS[name], columns, role) for name, columns in relations.items() if name in RIGHTS),
    ]


def _revocation(kind: LiteralString, names: Sequence[str], role: str) -> list[sql.Composed]:
    if not names:
        return []
    objects = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in names)
    statement = sql.SQL("REVOKE ALL ON {kind} {objects} FROM PUBLIC, {role}")
    return [statement.format(kind=sql.SQL(kind), objects=objects, role=sql.Identifier(role))]


def _table_grant(name: str, rights: Rights, columns: Collection[str], role: str) -> sql.Composed:
    granted: list[sql.Composable] = [sql.SQL("SELECT")]
    granted += _column_grant("INSERT", rights.insert, columns)
    granted += _column_grant("UPDATE", rights.update, columns)
    granted += [sql.SQL("DELETE")] if rights.delete else []
    return sql.SQL("GRANT {rights} ON TABLE {table} TO {role}").format(
        rights=sql.SQL(", ").join(granted), table=sql.Identifier(SCHEMA, name), role=sql.Identifier(role)
    )


def _column_grant(right: LiteralString, granted: str, existing: Collection[str]) -> list[sql.Composable]:
    if granted == EVERY_COLUMN:
        return [sql.SQL(right)]
    columns = [sql.Identifier(name) for name in named(granted, existing)]
    return [sql.SQL(right + " ({})").format(sql.SQL(", ").join(columns))] if columns else []


def _statement(text: LiteralString, **names: str) -> sql.Composed:
    return sql.SQL(text).format(**{key: sql.Identifier(name) for key, name in names.items()})
