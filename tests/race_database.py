from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.apps import apps
from django.db import connection, transaction

from tests.database_template import connected_to, database
from tests.servers import NUMBER

__all__ = ["connected_to", "emptied", "race_database"]


@pytest.fixture(scope="session")
def race_database(django_db_setup: None) -> Iterator[str]:
    """A dedicated database. In the test database, the running product of other tests would claim committed rows."""
    with database(f"test_{NUMBER}_races") as name:
        yield name


@contextmanager
def emptied() -> Iterator[None]:
    try:
        yield
    finally:
        _empty()


def _empty() -> None:
    """Delete all rows. Triggers forbid the deletion of history, so the owner of the tables disables them."""
    apps_models = (
        apps.get_app_config(app).get_models() for app in ("tenancy", "releases", "executions", "alerts", "coordinator")
    )
    tables = [f'"{model._meta.db_table}"' for models in apps_models for model in models if model._meta.managed]
    with transaction.atomic(), connection.cursor() as cursor:
        # Truncating a table takes longer than deleting a few rows.
        cursor.execute(" UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in tables))
        filled = [table for (table,) in cursor.fetchall()]
        for statement in (
            "SET CONSTRAINTS ALL DEFERRED",
            *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in filled),
            *(f"DELETE FROM {table}" for table in filled),
            "SET CONSTRAINTS ALL IMMEDIATE",
            *(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in filled),
        ):
            cursor.execute(statement)
