"""Sets up the roles, the database and the rights. Every function is idempotent.

The application role gets its rights (see `rights`), and nothing else. They are granted again after each `migrate`,
because a new table has no rights yet. The statements revoke first, so that the role loses each right that is no longer
listed.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection, sql

from foundation.database.postgresql.rights import OPTIONAL_RIGHTS, RIGHTS, Rights

MAINTENANCE_DATABASE = "postgres"
SCHEMA = "public"
_DATABASE_GRANTS: tuple[LiteralString, ...] = (
    "REVOKE ALL ON DATABASE {0} FROM PUBLIC, {2}",
    "GRANT CONNECT ON DATABASE {0} TO {2}",
    "REVOKE ALL ON SCHEMA {1} FROM PUBLIC, {2}",
    "GRANT USAGE ON SCHEMA {1} TO {2}",
)
_OWN_OBJECTS = """
SELECT relname, relkind = 'S', ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) FROM pg_class c
WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
    AND pg_has_role(current_user, relowner, 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY relname
"""
_SCHEMA_BELONGS_TO_THE_DATABASE = """
SELECT FROM pg_namespace WHERE nspname = %s AND pg_get_userbyid(nspowner) = 'pg_database_owner'
"""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one installation: its database, the role that migrates it, and the role of its processes."""

    database: str
    owner: str
    application: str


def set_up(connect: Callable[[str], Connection], names: Names, passwords: Mapping[str, str]) -> None:
    """Create the missing roles and the database, and grant the application role its rights.

    `connect` opens a connection to the named database, as a role with sufficient privileges. `passwords` maps roles to
    new passwords. An existing role without an entry keeps its password. A superuser also hardens the database.
    """
    with connect(MAINTENANCE_DATABASE) as connection:
        connection.autocommit = True
        create_role(connection, names.owner, passwords.get(names.owner))
        create_role(connection, names.application, passwords.get(names.application))
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [names.database]).rowcount:
            _run(connection, "CREATE DATABASE {} OWNER {}", names.database, names.owner)
    with connect(names.database) as connection:
        if not connection.execute(_SCHEMA_BELONGS_TO_THE_DATABASE, [SCHEMA]).rowcount:
            _run(connection, "ALTER SCHEMA {} OWNER TO pg_database_owner", SCHEMA)
        grant(connection.execute, names.database, names.application)
        _harden(connection, names.database)


def _harden(connection: Connection, database: str) -> None:
    """Set what only a superuser may: no other role creates large objects, and no row is written to the server's log.

    The detail of a refused change contains the row, and so the payload.
    """
    if connection.info.parameter_status("is_superuser") == "on":
        _run(
            connection,
            "REVOKE EXECUTE ON FUNCTION lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC",
        )
        _run(connection, "ALTER DATABASE {} SET log_error_verbosity = terse", database)


def missing_roles(connection: Connection, names: Names) -> set[str]:
    rows = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    return {names.owner, names.application} - {name for (name,) in rows}


def create_role(connection: Connection, name: str, password: str | None) -> None:
    """Create a role without special rights unless it exists, and set its password if one is passed.

    The server gets the password as a digest, so that none of its logs can show it.
    """
    if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
        _run(connection, "CREATE ROLE {} LOGIN", name)
    if password is not None:
        digest = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(digest.decode()))
        connection.execute(statement)


def grant(execute: Callable[..., Any], database: str, role: str) -> None:
    """Grant the application role its rights on all existing objects. Call it as the owner, in one transaction.

    PUBLIC loses all rights, including that to temporary tables. Sequences get no rights, because identity columns need
    none. A superuser passes for the owner of everything. Relations that belong to an extension keep their rights.
    """
    for text in _DATABASE_GRANTS:
        execute(sql.SQL(text).format(*map(sql.Identifier, [database, SCHEMA, role])))
    objects = execute(_OWN_OBJECTS, [SCHEMA]).fetchall()
    relations = {name: columns for name, is_sequence, columns in objects if not is_sequence}
    sequences = [name for name, is_sequence, _ in objects if is_sequence]
    _revoke(execute, "TABLE", relations, role)
    _revoke(execute, "SEQUENCE", sequences, role)
    for name, columns in relations.items():
        if rights := RIGHTS.get(name) or OPTIONAL_RIGHTS.get(name):
            execute(_table_grant(name, rights, columns, role))


def _revoke(execute: Callable[..., Any], kind: LiteralString, names: Collection[str], role: str) -> None:
    if names:
        objects = sql.SQL(", ").join(sql.Identifier(SCHEMA, name) for name in names)
        execute(sql.SQL("REVOKE ALL ON " + kind + " {} FROM PUBLIC, {}").format(objects, sql.Identifier(role)))


def _table_grant(name: str, rights: Rights, columns: Collection[str], role: str) -> sql.Composed:
    granted: list[sql.Composable] = [sql.SQL("SELECT")]
    granted += _column_grant("INSERT", rights.insertable(columns))
    granted += _column_grant("UPDATE", rights.updatable(columns))
    granted += [sql.SQL("DELETE")] if rights.delete else []
    return sql.SQL("GRANT {rights} ON TABLE {table} TO {role}").format(
        rights=sql.SQL(", ").join(granted), table=sql.Identifier(SCHEMA, name), role=sql.Identifier(role)
    )


def _column_grant(right: LiteralString, columns: list[str]) -> list[sql.Composable]:
    identifiers = sql.SQL(", ").join(map(sql.Identifier, columns))
    return [sql.SQL(right + " ({})").format(identifiers)] if columns else []


def _run(connection: Connection, text: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(text).format(*map(sql.Identifier, names)))
