"""A database with rows in every table, and a connection to it as the application role."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests.invariants import rows
from tests.race_database import connected_to, emptied
from tests.servers import ordinary_url

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="package")
def ordinary(race_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Connection]:
    """A connection as the application role to a database with rows of every table in every state."""
    with django_db_blocker.unblock(), connected_to(race_database), emptied():
        rows.make()
        with psycopg.connect(ordinary_url(race_database)) as connection:
            yield connection
