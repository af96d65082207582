"""Streamed responses occupy a place for slow clients, and neither a slot nor a database connection."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import StreamingHttpResponse
from django.test import RequestFactory

from coordinator.request_slots import in_slots
from foundation.api.streaming import streamed
from foundation.errors import SlowRequestsBusy

pytestmark = pytest.mark.django_db
SECONDS = 20


class Server:
    """A server with one slot, one thread, and one place for each slow client."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._application = in_slots(self._respond, slots=1, threads=6)
        self.closed = 0
        self.connections: list[list[Any]] = []
        """The database connections of the thread, for each chunk that was read."""

    def _respond(self, environ: dict[str, Any], _: Callable[..., Any]) -> StreamingHttpResponse:
        return streamed(WSGIRequest(environ), self._chunks(), length=2, status=200, headers={"ETag": '"x"'})

    def _chunks(self) -> Generator[bytes]:
        try:
            for chunk in (b"a", b"b"):
                self.connections.append(list(connections.all(initialized_only=True)))
                yield chunk
        finally:
            self.closed += 1

    def start(self, client: str = "192.0.2.1") -> Any:
        environ = {**RequestFactory().get("/").META, "REMOTE_ADDR": client, "CONTENT_LENGTH": ""}
        return self._thread.submit(self._application, environ, lambda *_: None).result(SECONDS)

    def read(self, response: Any) -> bytes:
        return bytes(self._thread.submit(lambda: next(iter(response))).result(SECONDS))

    def close(self, response: Any) -> None:
        self._thread.submit(response.close).result(SECONDS)


@pytest.fixture
def server() -> Iterator[Server]:
    with ThreadPoolExecutor(1) as thread:
        yield Server(thread)


def test_a_stream_leaves_its_place_when_it_is_closed(server: Server) -> None:
    first = server.start()
    assert (first.status_code, first["Content-Length"], first["ETag"]) == (200, "2", '"x"')
    with pytest.raises(SlowRequestsBusy):
        server.start()
    other = server.start("192.0.2.2")
    assert server.read(first) == b"a"
    assert server.connections == [[]]
    server.close(first)
    assert server.closed == 1
    server.close(server.start())
    server.close(other)
