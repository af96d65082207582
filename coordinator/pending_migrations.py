"""Compares the migrations of this process's code with those of the database.

A database that has more migrations is fine: it belongs to a newer version, whose migrations keep this one working.
"""

import logging
import sys
from functools import cache
from pathlib import Path

from django.apps import apps
from django.db import Error, ProgrammingError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import UndefinedTable

log = logging.getLogger(__name__)


def pending(connected: BaseDatabaseWrapper) -> list[str]:
    """Return the migrations that the database lacks, such as `executions.0001_tables`, in the order of their names."""
    try:
        with connected.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = set(cursor.fetchall())
    except ProgrammingError as error:
        if not isinstance(error.__cause__, UndefinedTable):
            raise
        # Nothing was ever applied.
        applied = set()
    return [f"{app}.{name}" for app, name in sorted(shipped() - applied)]


def require_none() -> None:
    """End the process if the database lacks migrations. If the database does not answer yet, only log that."""
    try:
        missing = pending(connection)
    except Error as error:
        log.warning("The migrations of the database are not known: %s", type(error).__name__)
    else:
        if missing:
            sys.exit(described(missing))
    finally:
        connection.close()


def described(missing: list[str]) -> str:
    """Return a sentence for operators."""
    return (
        f"The database lacks {len(missing)} migrations of this version, starting with {missing[0]}."
        " Run coordinator migrate with this version first."
    )


@cache
def shipped() -> frozenset[tuple[str, str]]:
    """Return the migrations of this version, as app labels and names. Their names suffice, so none is imported."""
    folders = ((config.label, Path(config.path, "migrations")) for config in apps.get_app_configs())
    return frozenset(
        (label, file.stem) for label, folder in folders for file in folder.glob("*.py") if file.stem[0] != "_"
    )
