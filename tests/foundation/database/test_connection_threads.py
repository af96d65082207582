"""A thread's connection to the database is closed when the thread ends."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests.building import eventually


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def session() -> int:
    """Return the server process of this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def is_open(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return bool(cursor.fetchone()[0])


@pytest.mark.usefixtures("django_db_setup", "no_garbage_collector")
def test_a_connection_is_closed_when_its_thread_ends(django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(session).result()
            assert pool.submit(session).result() == first
            assert is_open(first)
        eventually(lambda: not is_open(first), what="the end of the session")
        connection.close()
