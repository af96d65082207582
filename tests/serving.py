"""A server whose responses a test chooses."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.http_server import HttpServer, Request, body_of, send
from tests.receiving import Received


class Serving(HttpServer):
    """`requests` are those that it got."""

    def __init__(self, bodies: tuple[Any, ...], status: int, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.url = self.origin
        self.requests: list[Received] = []
        self._left = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
        self._status, self._headers = status, headers

    def respond(self, request: Request) -> None:
        self.requests.append(Received(request.command, request.path, dict(request.headers), body_of(request)))
        send(request, self._status, self._headers, self._left[0] if len(self._left) == 1 else self._left.pop(0))


@contextmanager
def serving(*bodies: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Respond with `bodies` in order, and then with the last one again. Bodies other than bytes are sent as JSON."""
    with Serving(bodies, status, headers or {}).running() as server:
        yield server
