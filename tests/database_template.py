"""Databases for tests, copied from a template.

To migrate an empty database takes many seconds, to copy a migrated one a fraction of a second. The template is named by
a digest of the migrations. All test processes on a server that have the same migrations share it.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from coordinator import apps as coordinator_apps
from coordinator.postgresql import grants, rights
from coordinator.postgresql.setup import grant
from executions import states as execution_states
from releases import states as release_states

MODULES = (execution_states, release_states, coordinator_apps, grants, rights)
LOCK = 7_140_211
"""The key of the advisory lock of whoever looks for the template or creates it."""


@contextmanager
def database(name: str) -> Iterator[str]:
    """Create the database `name`, migrated and empty; drop it after the block. The first use migrates the template."""
    source = template()
    with _connected("") as server:
        _run(server, "DROP DATABASE IF EXISTS {}", name)
        _run(server, "CREATE DATABASE {} TEMPLATE {}", name, source)
    # A copy has the rights on its tables, and not those on the database.
    with _connected(name) as copy:
        grant(copy.execute, name, settings.DATABASE_APPLICATION_ROLE)
    try:
        yield name
    finally:
        with _connected("") as server:
            _run(server, "DROP DATABASE {} WITH (FORCE)", name)


@functools.cache
def template() -> str:
    """Return the name of the migrated template, which is created if this server has none for these migrations."""
    name = f"template_{digest()}"
    with _connected("") as server:
        server.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        if not server.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
            # Renamed when it is complete: a process that is killed meanwhile leaves no template.
            unfinished = f"{name}_unfinished"
            _run(server, "DROP DATABASE IF EXISTS {}", unfinished)
            _run(server, "CREATE DATABASE {}", unfinished)
            with connected_to(unfinished):
                call_command("migrate", verbosity=0)
            _run(server, "ALTER DATABASE {} RENAME TO {}", unfinished, name)
    return name


def digest() -> str:
    """Return a digest of all migrations, of what ours take their constraints from, and of the rights."""
    files = [
        (config.label, file)
        for config in apps.get_app_configs()
        for file in sorted(Path(config.path, "migrations").glob("*.py"))
    ]
    files += [(module.__name__, Path(str(module.__file__))) for module in MODULES]
    found = hashlib.sha256()
    for owner, file in files:
        found.update(f"{owner} {file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()[:16]


@contextmanager
def connected_to(name: str) -> Iterator[None]:
    """Have Django connect to the database `name`. All threads share this setting; each has its own connection."""
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
    """Connect as the owner to the database `name`, or else to the one of DATABASE_URL."""
    url = urlsplit(os.environ["DATABASE_URL"])
    with psycopg.connect(urlunsplit(url._replace(path=f"/{name}" if name else url.path)), autocommit=True) as made:
        yield made


def _run(server: psycopg.Connection, text: LiteralString, *names: str) -> None:
    server.execute(sql.SQL(text).format(*map(sql.Identifier, names)))
