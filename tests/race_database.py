"""A database that tests may commit to from many connections, apart from everybody else's."""

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
    """A database of its own: in the test database, the product that other tests run would claim what is committed."""
    with database(f"test_{NUMBER}_races") as name:
        yield name


@contextmanager
def emptied() -> Iterator[None]:
    """The database is empty after the block."""
    try:
        yield
    finally:
        _empty()


def _run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _empty() -> None:
    """History refuses to be removed; only the owner of the tables can, and only by switching its guards off."""
    apps_models = (apps.get_app_config(app).get_models() for app in ("tenancy", "releases", "executions"))
    models = [model for each in apps_models for model in each if model._meta.managed]
    tables = [f'"{model._meta.db_table}"' for model in models]
    with transaction.atomic():
        _run(
            *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables),
            f"TRUNCATE {', '.join(tables)} CASCADE",
            *(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in tables),
        )
