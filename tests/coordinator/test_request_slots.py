"""Database connections pass from request to request together with their slots."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from coordinator.request_slots import Slots

pytestmark = pytest.mark.django_db


def session() -> int:
    """Return the server's process for the current connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


class Request:
    """A thread that takes slots."""

    def __init__(self, slots: Slots) -> None:
        self.connections: list[Any] = []
        self._slots = slots
        self._thread = ThreadPoolExecutor(1)

    def take(self) -> int:
        """Take a slot and return the session of its connection."""

        def taken() -> int:
            self._slots.take()
            self.connections.append(connections["default"])
            return session()

        return self._thread.submit(taken).result(30)

    def leave(self) -> None:
        self._thread.submit(self._slots.leave).result(30)

    def close(self) -> None:
        self._thread.shutdown()
        for each in self.connections:
            each.close()


@pytest.fixture
def requests() -> Iterator[list[Request]]:
    slots = Slots(2)
    made = [Request(slots) for _ in range(2)]
    yield made
    for each in made:
        each.close()


@pytest.mark.parametrize("end", ["terminated", "too old"])
def test_each_connection_is_checked_when_it_is_taken(requests: list[Request], end: str) -> None:
    one, other = requests
    first, second = one.take(), other.take()
    assert first != second
    one.leave()
    other.leave()
    for held in (one, other):
        if end == "too old":
            held.connections[0].close_at = 0.0
    if end == "terminated":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS pid", [[first, second]])
    assert not {one.take(), other.take()} & {first, second}
