"""What the application role may do in the database: nothing that is not granted here.

The statements are run by `setup_database`, and again after each `migrate`, since only these rights reach a new table.
They take away first, so that a right that is no longer listed is gone.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

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
    """The rights on tables, views and sequences. The lists name those that exist and belong to the owner."""
    return [
        *_grants("SELECT, INSERT, UPDATE, DELETE", "TABLE", relations, role),
        *_grants("USAGE", "SEQUENCE", sequences, role),
    ]


def _grants(rights: LiteralString, kind: LiteralString, names: Sequence[str], role: str) -> list[sql.Composed]:
    if not names:
        return []
    objects = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in names)
    parts = {"rights": sql.SQL(rights), "kind": sql.SQL(kind), "objects": objects, "role": sql.Identifier(role)}
    return [
        sql.SQL("REVOKE ALL ON {kind} {objects} FROM PUBLIC, {role}").format(**parts),
        sql.SQL("GRANT {rights} ON {kind} {objects} TO {role}").format(**parts),
    ]


def _statement(text: LiteralString, **names: str) -> sql.Composed:
    return sql.SQL(text).format(**{key: sql.Identifier(name) for key, name in names.items()})
