"""Database connections pass from request to request together with their slots."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from coordinator.request_slots import Application, in_slots

pytestmark = pytest.mark.django_db


def session() -> int:
    """Return the server's process for the current connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


class Server:
    """Two slots, and one thread that handles requests."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._application = in_slots(self._respond, slots=2, threads=6)
        self._pool = ThreadPoolExecutor(1)

    def _respond(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Name the session before the body and after it."""
        self.seen.append(connections["default"])
        connections["default"].close_if_unusable_or_obsolete()  # as Django does when a request begins
        before = session()
        environ["wsgi.input"].read()
        self.seen.append(connections["default"])
        return [b"%d" % before, b"%d" % session()]

    def ask(self, body: bytes = b"") -> tuple[int, int]:
        environ = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "REMOTE_ADDR": "127.0.0.1"}
        application: Application = self._application
        before, after = self._pool.submit(application, environ, lambda *_: None).result(30)
        return int(before), int(after)

    def close(self) -> None:
        for each in self.seen:
            each.close()
        self._pool.shutdown()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.mark.parametrize("end", ["terminated", "too old"])
def test_a_request_checks_each_connection_that_it_takes(server: Server, end: str) -> None:
    (first, _), (second, _) = server.ask(), server.ask()
    assert first != second
    if end == "terminated":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [second])
    else:
        server.seen[-1].close_at = 0.0
    before, after = server.ask(b"body")
    assert before == first
    assert after not in {first, second}
