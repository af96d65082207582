import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.http_server import HttpServer, Request, body_of, send

T = TypeVar("T")


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed(self, *keys: str) -> bool:
        """True if the coordinator has just signed it with these keys, in this order."""
        timestamp, *signatures = self.headers["X-Coordinator-Signature"].removeprefix("t=").split(",v1=")
        text = f"{timestamp}.".encode() + self.body
        expected = [hmac.new(key.encode(), text, hashlib.sha256).hexdigest() for key in keys]
        return signatures == expected and abs(int(timestamp) - time.time()) < 60


class Receiver(HttpServer):
    """Responds with `statuses` and `bodies` in order, and then with the last one again. Records all requests."""

    protocol = "HTTP/1.1"  # a client may keep its connection

    def __init__(self, host: str, certificate: Path | None) -> None:
        super().__init__(certificate, host)
        self.requests: list[Received] = []
        self.statuses = [204]
        self.bodies = [b""]
        self.answer_headers: dict[str, str] = {}

    def respond(self, request: Request) -> None:
        self.requests.append(Received(request.command, request.path, dict(request.headers), body_of(request)))
        send(request, _next(self.statuses), self.answer_headers, _next(self.bodies))

    def url(self, host: str = "127.0.0.1", path: str = "/hook", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def _next(left: list[T]) -> T:
    return left[0] if len(left) == 1 else left.pop(0)


@contextmanager
def receiving(host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[Receiver]:
    with Receiver(host, certificate).running() as receiver:
        yield receiver


@contextmanager
def serving(*bodies: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Iterator[Receiver]:
    """Respond with `bodies` in order, and then with the last one again. Bodies other than bytes are sent as JSON."""
    with receiving() as server:
        server.statuses, server.answer_headers = [status], dict(headers or {})
        server.bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
        yield server


DRIP_SECONDS = 0.05
MOST_DRIPS = 200


@contextmanager
def one_client(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that calls `serve` with its first client, and with an event that is set after the block.

    Yields its host and port.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def accept() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            serve(connection, over)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        thread.join(10)
        listener.close()


def dripping(beginning: bytes) -> AbstractContextManager[str]:
    """A server that sends `beginning` to its first client, and then single bytes until the client disconnects."""

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(beginning)
        for _ in range(MOST_DRIPS):
            if over.wait(DRIP_SECONDS):
                return
            connection.sendall(b"x")

    return one_client(drip)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def local_receivers(settings: Any) -> None:
    """Receivers on this machine are allowed. The second attempt is due after exactly ten seconds."""
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.WEBHOOK_ATTEMPTS = 3
    settings.WEBHOOK_DELAY_SECONDS = 10
    settings.RETRY_JITTER = 0
