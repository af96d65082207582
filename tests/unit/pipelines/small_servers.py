"""Small HTTP servers, which replace coordinators, repositories and stores."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


@dataclass(frozen=True)
class Response:
    """`cut` is how many bytes of the body are sent, `pause` the seconds after each byte."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    pause: float = 0


class Recorder(ThreadingHTTPServer):
    """Keeps all requests. `respond` says how to answer one."""

    respond: Callable[[Request], Response]

    def __init__(self) -> None:
        self.requests: list[Request] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Log nothing if a client hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, self.headers, body)
        self.server.requests.append(request)
        response = self.server.respond(request)
        self.send_response(response.status)
        for name, value in {"Content-Length": str(len(response.body)), **response.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        for part in [response.body[: response.cut]] if not response.pause else map(bytes, zip(response.body)):
            self.wfile.write(part)
            time.sleep(response.pause)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(*servers: Recorder) -> Iterator[None]:
    """Serve requests until the block ends."""
    threads = [threading.Thread(target=each.serve_forever, args=[0.01]) for each in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each in servers:
            each.shutdown()
            each.server_close()
        for thread in threads:
            thread.join()
