"""Faults of other libraries that the product works around. A test fails when its library has fixed the fault.

See docs/upstream.md.
"""

import gc
import http.client
import socket
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.utils import ConnectionHandler
from psycopg.errors import InvalidSqlStatementName
from pytest_django import DjangoDbBlocker

PLAIN = {**settings.DATABASES[DEFAULT_DB_ALIAS], "ENGINE": "django.db.backends.postgresql"}


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
def test_django_leaves_the_connection_of_a_thread_that_has_ended_open(django_db_blocker: DjangoDbBlocker) -> None:
    handler = ConnectionHandler({DEFAULT_DB_ALIAS: PLAIN})

    def connect() -> weakref.ref[psycopg.Connection]:
        wrapper = handler[DEFAULT_DB_ALIAS]
        assert type(wrapper) is DatabaseWrapper
        wrapper.ensure_connection()
        return weakref.ref(wrapper.connection)

    with django_db_blocker.unblock(), ThreadPoolExecutor(1) as pool:
        reference = pool.submit(connect).result()
    connection = reference()
    assert connection is not None
    assert not connection.closed
    connection.close()


def test_psycopg_does_not_notice_that_a_repeated_statement_releases_its_plans() -> None:
    parameters = DatabaseWrapper({**PLAIN, "OPTIONS": {}}, DEFAULT_DB_ALIAS).get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    with psycopg.connect(**{name: parameters[name] for name in names}) as connection:
        connection.execute("DEALLOCATE ALL", prepare=False)
        connection.execute("SELECT 1", prepare=True)
        connection.execute("DEALLOCATE ALL", prepare=False)
        with pytest.raises(InvalidSqlStatementName):
            connection.execute("SELECT 1", prepare=True)


def test_http_client_accepts_a_response_that_ends_within_its_headers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1], timeout=10)
        client.request("HEAD", "/")
        accepted, _ = server.accept()
        with accepted:
            accepted.recv(1000)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
        with client.getresponse() as response:
            assert response.status == 200
        client.close()
