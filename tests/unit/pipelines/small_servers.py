"""Small HTTP servers, which replace coordinators, repositories and stores."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Quiet:
    """A request handler that logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


class SmallServer:
    """Has a port of this machine once it listens. `serving` lets it answer."""

    server: ThreadingHTTPServer

    def listen(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


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
