"""A database with rows in every table, and a connection to it as the application role."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests.database_template import connected_to, database
from tests.invariants import rows
from tests.servers import NUMBER, ordinary_url

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="session")
def furnished(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The name of a database with rows of every table in every state."""
    with database(f"test_{NUMBER}_rows") as name:
        with django_db_blocker.unblock(), connected_to(name):
            rows.make()
        yield name


@pytest.fixture(scope="session")
def ordinary(furnished: str) -> Iterator[Connection]:
    """A connection as the application role to a database with rows of every table in every state."""
    with psycopg.connect(ordinary_url(furnished)) as connection:
        yield connection
