"""Small HTTP servers, which replace coordinators, repositories and stores."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Quiet:
    """A request handler that logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Log nothing if a client hangs up."""


class SmallServer:
    """Has a port of this machine once it listens. `serving` lets it answer."""

    server: ThreadingHTTPServer

    def listen(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = _Server(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


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
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Recorder(SmallServer):
    """Keeps all requests. `respond` says how to answer one."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        recorder = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, self.headers, body)
                recorder.requests.append(request)
                response = recorder.respond(request)
                self.send_response(response.status)
                for name, value in {"Content-Length": str(len(response.body)), **response.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.body)

            do_GET = do_POST = do_PUT = answer

        self.listen(Handler)

    def respond(self, request: Request) -> Response:
        raise NotImplementedError


@contextmanager
def serving(*servers: SmallServer) -> Iterator[None]:
    """Serve requests until the block ends."""
    threads = [threading.Thread(target=each.server.serve_forever, args=[0.01]) for each in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each in servers:
            each.server.shutdown()
            each.server.server_close()
        for thread in threads:
            thread.join()
