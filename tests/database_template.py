"""Databases for tests, copied from a template.

Migrating an empty database takes seconds; copying a migrated one takes a fraction of a second. The name of the
template contains a digest of the migrations. All test processes of a server with equal migrations share the template.
"""

import functools
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from coordinator import apps as coordinator_apps
from coordinator.backups import find_program as find
from foundation.database.postgresql import rights, setup
from foundation.database.postgresql.setup import grant

MODULES = (coordinator_apps, setup, rights)
LOCK = 7_140_211
"""The key of the advisory lock that a process holds while it looks for or creates the template."""


@contextmanager
def database(name: str) -> Iterator[str]:
    """Create the migrated, empty database `name` and drop it after the block. The first use creates the template."""
    source = template()
    with _connected("") as server:
        _run(server, "DROP DATABASE IF EXISTS {}", name)
        _run(server, "CREATE DATABASE {} TEMPLATE {}", name, source)
    # A copy keeps privileges on tables, but not those on the database.
    with _connected(name) as copy:
        grant(copy.execute, name, settings.DATABASE_APPLICATION_ROLE)
    try:
        yield name
    finally:
        with _connected("") as server:
            _drop(server, name)


def _drop(server: psycopg.Connection, name: str) -> None:
    # WITH (FORCE) is refused while autovacuum, a process of the superuser, is at work in the database. So no new client
    # may connect, the present ones are ended, and the server ends autovacuum itself.
    _run(server, "ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
    server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = %s AND backend_type = 'client backend'",
        [name],
    )
    _run(server, "DROP DATABASE {}", name)


@contextmanager
def empty_database(name: str) -> Iterator[str]:
    """Create a database without tables and drop it after the block."""
    with _connected("") as server:
        _run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        _run(server, "CREATE DATABASE {}", name)
        try:
            yield name
        finally:
            _drop(server, name)


def copy_to_another_server(name: str, url: str) -> None:
    """Copy the database `name` into the empty database at `url`. The application role has the same name there."""
    dump, version = dumped(name, "--format=custom")
    command: list[str | Path] = [find("pg_restore", version), "--exit-on-error", "--no-owner", f"--dbname={url}"]
    subprocess.run(command, input=dump, check=True)


def dumped(name: str, *options: str) -> tuple[bytes, int]:
    """Return what `pg_dump` writes of the database `name`, and the version of the server."""
    with _connected(name) as source:
        version, environment = source.info.server_version, {**os.environ, "PGPASSWORD": source.info.password}
        command: list[str | Path] = [find("pg_dump", version), f"--dbname={source.info.dsn}", *options]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout, version


def migrated() -> str:
    """Migrate the connected, empty database step by step. Return the script that does the same in one transaction."""
    blocks = ["-- Generated from the migrations: see tests/coordinator/test_schema.py."]

    def begin(action: str, *arguments: Any) -> None:
        if action == "apply_start":
            blocks.append(f"\n-- {arguments[0]}")

    def execute(run: Any, statement: Any, parameters: Any, many: bool, context: Any) -> Any:
        text = context["cursor"].cursor.mogrify(statement, parameters).strip().rstrip(";")
        # `coordinator.schema` records the migrations, and `migrate` grants all rights.
        if not text.startswith(("SELECT", "GRANT", 'INSERT INTO "django_migrations"')):
            blocks.append(text.replace("INDEX CONCURRENTLY", "INDEX") + ";")
        return run(statement, parameters, many, context)

    with connection.execute_wrapper(execute):
        executor = MigrationExecutor(connection, begin)
        executor.migrate(executor.loader.graph.leaf_nodes())
    return "\n".join(blocks) + "\n"


@functools.cache
def template() -> str:
    """Return the name of the template for the current migrations. Create it if this server does not have it."""
    name = f"template_{digest()}"
    with _connected("") as server:
        server.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        if not server.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
            # Rename it once it is complete, so that a killed process leaves no partial template.
            unfinished = f"{name}_unfinished"
            _run(server, "DROP DATABASE IF EXISTS {}", unfinished)
            _run(server, "CREATE DATABASE {}", unfinished)
            with connected_to(unfinished):
                migrated()  # by the migrations themselves, which the script of `coordinator.schema` repeats
                call_command("migrate", verbosity=0)
            _run(server, "ALTER DATABASE {} RENAME TO {}", unfinished, name)
    return name


def digest() -> str:
    """Return a digest of all migrations and the privileges."""
    files = [
        (config.label, file)
        for config in apps.get_app_configs()
        for file in sorted(Path(config.path, "migrations").glob("*.py"))
    ]
    files += [(module.__name__, Path(str(module.__file__))) for module in MODULES]
    hashed = hashlib.sha256()
    for owner, file in files:
        hashed.update(f"{owner} {file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()[:16]


@contextmanager
def connected_to(name: str) -> Iterator[None]:
    """Connect Django to the database `name`. All threads share this setting, but each has its own connection."""
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


@contextmanager
def _connected(name: str) -> Iterator[psycopg.Connection]:
    """Connect as the owner to the database `name`. If it is empty, connect to the database of DATABASE_URL."""

    url = urlsplit(os.environ.get("TEST_DIRECT_URL") or os.environ["DATABASE_URL"])
    with psycopg.connect(urlunsplit(url._replace(path=f"/{name}" if name else url.path)), autocommit=True) as made:
        yield made


def _run(server: psycopg.Connection, text: LiteralString, *names: str) -> None:
    server.execute(sql.SQL(text).format(*map(sql.Identifier, names)))
