import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from tests import database_template
from tests.invariants import attempts, rows
from tests.servers import NUMBER, ordinary_url

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="session")
def furnished(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with database_template.database(f"test_{NUMBER}_rows") as name:
        with django_db_blocker.unblock(), database_template.connected_to(name):
            rows.make()
        yield name


@pytest.fixture(scope="session")
def ordinary(furnished: str) -> Iterator[Connection]:
    with psycopg.connect(ordinary_url(furnished), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def owner_connection(ordinary: Connection) -> Iterator[Connection]:
    """A connection to the same database as the owner of its tables."""
    url = urlsplit(os.environ["DATABASE_OWNER_URL"])._replace(path=f"/{ordinary.info.dbname}")
    with psycopg.connect(urlunsplit(url), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '5s'")
        connection.execute(attempts.ATTEMPT)
        yield connection


@pytest.fixture
def database(owner_connection: Connection) -> Iterator[Connection]:
    with owner_connection.transaction(force_rollback=True):
        yield owner_connection
