"""A server whose responses a test chooses."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.receiving import Received


@dataclass
class Serving:
    port: int = 0
    requests: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(*bodies: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Respond with `bodies` in order, and then with the last one again. Bodies other than bytes are sent as JSON."""
    served = Serving()
    left = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            served.requests.append(Received(self.command, self.path, dict(self.headers), body))
            answer = left[0] if len(left) == 1 else left.pop(0)
            with suppress(OSError):  # the client may have had enough
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        do_GET = do_PATCH = do_POST

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
