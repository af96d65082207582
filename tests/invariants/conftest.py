"""A database with rows in every table, and a connection to it as the application role."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests.invariants import rows
from tests.race_database import connected_to, emptied
from tests.servers import ORDINARY_URL

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="package")
def ordinary(race_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Connection]:
    """A connection as the application role to a database with rows of every table in every state."""
    with django_db_blocker.unblock(), connected_to(race_database), emptied():
        rows.make()
        url = urlunsplit(urlsplit(ORDINARY_URL)._replace(path=f"/{race_database}"))
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection


@pytest.fixture(scope="package")
def owner_connection(ordinary: Connection) -> Iterator[Connection]:
    """A connection to the same database as the owner of its tables."""
    url = urlsplit(os.environ["DATABASE_OWNER_URL"])._replace(path=f"/{ordinary.info.dbname}")
    with psycopg.connect(urlunsplit(url), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '5s'")
        yield connection


@pytest.fixture
def database(owner_connection: Connection) -> Iterator[Connection]:
    """The owner's connection. The test is one transaction, which is rolled back after it."""
    with owner_connection.transaction(force_rollback=True):
        yield owner_connection
