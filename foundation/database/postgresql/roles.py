"""Checks the privileges of the application role and of the owner in the catalogs of the connected database."""

from collections.abc import Callable
from typing import Any

# Members may act as a role, whether or not they inherit its rights.
_DANGERS = """
WITH database AS (SELECT datdba FROM pg_database WHERE datname = current_database()),
    schema AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
    relation AS (SELECT oid, relowner, relkind FROM pg_class WHERE relnamespace IN (SELECT oid FROM schema)),
    strong AS (SELECT oid, rolname FROM pg_roles
        WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication
            OR oid IN (SELECT relowner FROM relation UNION SELECT datdba FROM database)
            OR rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain', 'pg_signal_backend',
                'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_create_subscription'))
SELECT array_remove(ARRAY[
    CASE WHEN r.rolsuper THEN 'has SUPERUSER' END,
    CASE WHEN r.rolbypassrls THEN 'has BYPASSRLS' END,
    CASE WHEN r.rolcreaterole THEN 'has CREATEROLE' END,
    CASE WHEN r.rolreplication THEN 'has REPLICATION' END,
    CASE WHEN r.oid IN (SELECT relowner FROM relation) THEN 'owns tables' END,
    CASE WHEN r.oid IN (SELECT datdba FROM database) THEN 'owns the database' END,
    (SELECT 'is a member of ' || string_agg(rolname, ', ' ORDER BY rolname) FROM strong
        WHERE NOT r.rolsuper AND oid <> r.oid AND pg_has_role(r.oid, oid, 'MEMBER')),
    CASE WHEN has_database_privilege(r.oid, current_database(), 'TEMPORARY') THEN 'may create temporary tables' END,
    CASE WHEN has_database_privilege(r.oid, current_database(), 'CREATE') THEN 'may create schemas' END,
    (SELECT 'may create objects in ' || string_agg(nspname, ', ' ORDER BY nspname) FROM schema
        WHERE has_schema_privilege(r.oid, oid, 'CREATE')),
    (SELECT 'may truncate tables or add triggers' FROM relation
        WHERE relkind IN ('r', 'p') AND has_table_privilege(r.oid, oid, 'TRUNCATE, TRIGGER') LIMIT 1)
], NULL) FROM pg_roles r WHERE r.rolname = %s
"""
_OWNER = """
SELECT rolsuper,
    pg_has_role(oid, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE'),
    (SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class c
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S') AND relowner <> r.oid
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e'))
FROM pg_roles r WHERE rolname = %s
"""

_WEAKNESSES = """
SELECT array_remove(ARRAY[
    (SELECT 'has separate settings (' || string_agg(setting, ', ' ORDER BY setting) || '): ALTER ROLE ... RESET ALL'
        FROM pg_db_role_setting, unnest(setconfig) setting
        WHERE setrole = r.oid AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))),
    CASE WHEN has_function_privilege(r.oid, 'lo_create(oid)', 'EXECUTE')
        THEN 'may create large objects: run coordinator setup_database as a superuser' END
], NULL) FROM pg_roles r WHERE r.rolname = %s
"""

Execute = Callable[..., Any]


def application_dangers(execute: Execute, role: str) -> list[str]:
    """Return the excessive privileges of `role`, such as "owns tables"; empty if a process may use it.

    `execute` runs one statement in the database and returns a cursor.
    """
    row = execute(_DANGERS, [role]).fetchone()
    return ["does not exist"] if row is None else list(row[0])


def application_weaknesses(execute: Execute, role: str) -> list[str]:
    """Return what an administrator should look at, but what does not prevent the use of `role`.

    A role may always change its own password and its own settings, such as `statement_timeout`.
    """
    row = execute(_WEAKNESSES, [role]).fetchone()
    return [] if row is None else list(row[0])


def owner_faults(execute: Execute, role: str) -> list[str]:
    """Return the reasons why `role` cannot own and migrate this database; empty if it can."""
    row = execute(_OWNER, [role]).fetchone()
    if row is None:
        return ["does not exist"]
    is_superuser, owns_database, foreign_tables = row
    return [
        *(["has SUPERUSER"] if is_superuser else []),
        *([] if owns_database else ["does not own the database"]),
        *([f"does not own {foreign_tables}"] if foreign_tables else []),
    ]
