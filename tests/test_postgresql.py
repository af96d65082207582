"""Whether a kept connection is still good: looked at in the process, and the server asked only when it must be."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections
from django.db.backends.postgresql.base import DatabaseWrapper as Djangos
from django.test.utils import CaptureQueriesContext

from coordinator.postgresql import base

pytestmark = pytest.mark.django_db


@pytest.fixture
def kept() -> Iterator[base.DatabaseWrapper]:
    """A connection of its own, outside of the test's transaction, with health checks as in production."""
    made: Any = connections.create_connection("default")
    assert isinstance(made, base.DatabaseWrapper)
    made.connect()
    made.health_check_enabled = True  # type: ignore[attr-defined]  # not in the stubs
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one for each time that the server is asked."""
    found: list[None] = []
    ask: Callable[[base.DatabaseWrapper], bool] = Djangos.is_usable

    def told(wrapper: base.DatabaseWrapper) -> bool:
        found.append(None)
        return ask(wrapper)

    monkeypatch.setattr(Djangos, "is_usable", told)
    return found


def session(kept: base.DatabaseWrapper) -> int:
    """The server's process for the connection that a new request finds."""
    kept.close_if_unusable_or_obsolete()
    with kept.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def meanwhile(sql: str, *parameters: Any) -> None:
    """What somebody else does, in a session of their own."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        other.execute(sql, parameters)


def test_one_that_was_used_a_moment_ago_is_not_asked_for(kept: base.DatabaseWrapper, asked: list[None]) -> None:
    first = session(kept)
    asked.clear()
    with CaptureQueriesContext(kept) as caught:
        assert [session(kept) for _ in range(3)] == [first] * 3
    assert (len(caught), asked) == (3, [])


def test_one_that_the_server_has_ended_is_replaced(kept: base.DatabaseWrapper) -> None:
    first = session(kept)
    meanwhile("SELECT pg_terminate_backend(%s, 5000)", first)
    assert session(kept) != first


def test_after_a_silence_the_server_is_asked(
    kept: base.DatabaseWrapper, asked: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session(kept)
    asked.clear()
    monkeypatch.setattr(base, "LONGEST_SILENCE", -1.0)
    assert session(kept) == first
    assert len(asked) == 1


def test_after_an_error_the_server_is_asked(kept: base.DatabaseWrapper, asked: list[None]) -> None:
    first = session(kept)
    asked.clear()
    with pytest.raises(OperationalError), kept.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)")
    assert session(kept) == first
    assert len(asked) == 1
