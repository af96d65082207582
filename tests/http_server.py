import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any, Self

Request = BaseHTTPRequestHandler


class HttpServer:
    """A server on `port`, or on a free one. `origin` is its address; with a certificate for 127.0.0.1, it uses TLS."""

    protocol = "HTTP/1.0"

    def __init__(self, certificate: Path | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = owner.protocol

            def do_GET(self) -> None:
                with suppress(OSError):  # the client may have gone
                    owner.respond(self)

            do_POST = do_PATCH = do_HEAD = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((host, port), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port: int = self.server.server_address[1]
        self.origin = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"

    def respond(self, request: Request) -> None:
        raise NotImplementedError

    def release(self) -> None:
        """Let requests go that wait."""

    @contextmanager
    def running(self) -> Iterator[Self]:
        with in_a_thread(self.server):
            try:
                yield self
            finally:
                self.release()


@contextmanager
def in_a_thread(server: BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def body_of(request: Request) -> bytes:
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))


def head(request: Request, status: int, headers: Mapping[str, str]) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()


def send(request: Request, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
    head(request, status, {**headers, "Content-Length": str(len(body))})
    if request.command != "HEAD":
        request.wfile.write(body)
