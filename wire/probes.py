"""Whether the main loop of a process runs, and the HTTP server of a process for its metrics and for probes of that.

Probes restart a process whose loop hangs. Coordinators and workers have the same server.
"""

from __future__ import annotations

import hmac
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

LONGEST_SILENCE: Final = 60
"""Seconds without a beat after which a loop counts as hanging, unless another value is configured."""
IDLE_SECONDS: Final = 10.0
TEXT: Final = "text/plain; charset=utf-8"


class Liveness:
    """The main loop calls `beat` every few seconds. While it waits for another server, it is alive without beats.

    So an outage of the broker causes no restarts.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, longest_silence: float = LONGEST_SILENCE
    ) -> None:
        self._clock = clock
        self._longest_silence = longest_silence
        self._lock = threading.Lock()
        self._beaten_at = clock()
        self._waits = 0
        self._stalled: Callable[[], float] = lambda: 0.0

    def beat(self) -> None:
        self._beaten_at = self._clock()

    def watch(self, stalled: Callable[[], float]) -> None:
        """Let `stalled` return the silence of a process without a main loop: the seconds without progress."""
        self._stalled = stalled

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Run a block that may take any time, such as a connection to the broker."""
        self.begin_wait()
        try:
            yield
        finally:
            self.end_wait()

    def begin_wait(self) -> None:
        with self._lock:
            self._waits += 1

    def end_wait(self) -> None:
        with self._lock:
            self._waits -= 1
            self._beaten_at = self._clock()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last beat. While the loop waits, what `watch` was given says; 0 without it."""
        return self._stalled() if self._waits else self._clock() - self._beaten_at

    def is_alive(self) -> bool:
        return self.silent_seconds <= self._longest_silence


def bears(authorization: str, token: str) -> bool:
    """Return True if an Authorization header bears `token`. Takes the same time for every wrong token."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


class Endpoint(ThreadingHTTPServer):
    """Serves `/metrics` and `/live` at `host` and `port`. With `shared`, several processes may serve the same port.

    `/metrics` answers with the text of `metrics`, in the format of Prometheus; with a `token` only to requests that
    bear it. `/live` answers with 200 while `liveness` is alive, and with 503 otherwise. Requests are logged by `log`,
    if there is one. Raises OSError or OverflowError if it cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Callable[[], bytes],
        liveness: Liveness,
        *,
        token: str = "",
        shared: bool = False,
        log: logging.Logger | None = None,
    ) -> None:
        self.metrics, self.liveness, self.token, self.log = metrics, liveness, token, log
        self.allow_reuse_port = shared
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def start(self) -> None:
        threading.Thread(name="metrics", target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    timeout = IDLE_SECONDS
    server: Endpoint

    def do_GET(self) -> None:
        from prometheus_client import CONTENT_TYPE_LATEST  # a process that serves metrics has imported it

        served, path = self.server, self.path.partition("?")[0]
        if path == "/metrics" and served.token and not bears(self.headers.get("Authorization", ""), served.token):
            self._send(401, b"The token is missing or wrong.\n")
        elif path == "/metrics":
            self._send(200, served.metrics(), CONTENT_TYPE_LATEST)
        elif path != "/live":
            self._send(404, b"Only /metrics and /live exist.\n")
        elif served.liveness.is_alive():
            self._send(200, b"UP\n")
        else:
            self._send(503, f"The main loop has hung for {served.liveness.silent_seconds:.0f} s.\n".encode())

    def _send(self, status: int, body: bytes, kind: str = TEXT) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - its parent's name
        if self.server.log is not None:
            self.server.log.debug(format, *values)
