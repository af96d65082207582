"""The worker that is called over HTTP: one release, no broker, no database.

It serves plain HTTP. Put it behind a proxy that terminates TLS, on a network that only coordinators can reach. Every
request is signed in any case.
"""

from __future__ import annotations

import argparse
import logging
import select
import signal
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipelines.errors import DefinitionError
from pipelines.failures import inform, warn_of
from pipelines.worker.options import THREADS_ABANDONED, hosted_release, rest_secret, tracer_to
from pipelines.worker.printed import printed_lines
from pipelines.worker.rest_host import Response, RestHost
from pipelines.worker.supervision import Supervisor
from pipelines.worker.worker_log import configure_logs
from wire import garbage
from wire.messages.payload_envelopes import DEFAULT_PREFIXES

log = logging.getLogger(__name__)
LARGEST_BODY = 32 * 1024**2
"""In bytes."""
IDLE_SECONDS = 30.0
TURN_CHECK_SECONDS = 1.0
"""How often a waiting request checks whether its caller has hung up."""
RETRY_SECONDS = 10
DOWN = b'{"status":"DOWN","checks":[]}'


def main(arguments: argparse.Namespace) -> int:
    """Serve the release until SIGTERM or SIGINT. Then finish the running requests and accept no more.

    Returns the exit status. Raises `DefinitionError`.
    """
    configure_logs(arguments.log_format, arguments.log_level)
    secret = rest_secret(arguments.key_file)
    release = hosted_release(arguments)
    prefixes = tuple(arguments.payload_prefix or DEFAULT_PREFIXES)
    replaceable = arguments.concurrency if arguments.replace_threads is None else arguments.replace_threads
    supervisor = Supervisor(replaceable=replaceable, restart_at=arguments.exit_when_abandoned)
    tracer = tracer_to(arguments.traces_endpoint)
    host = RestHost(release, secret=secret, prefixes=prefixes, tracer=tracer, supervisor=supervisor)
    try:
        server = Server(arguments.bind, host, capacity=arguments.concurrency)
    except (OSError, OverflowError) as error:
        raise DefinitionError("INVALID_ADDRESS", f"--bind {arguments.bind}: {error}") from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    garbage.settle()
    inform("Hosting %s at %s:%d", release.identity, *server.server_address[:2])
    with printed_lines(copies=arguments.log_format == "terminal"):
        server.serve_forever(poll_interval=0.1)
    supervisor.close()
    server.server_close()
    release.require_no_foreign_module()
    return THREADS_ABANDONED if supervisor.must_restart else 0


class Server(ThreadingHTTPServer):
    """Serves a host. At most `capacity` transitions run at a time; other requests wait for their turn."""

    daemon_threads = False

    def __init__(self, address: str, host: RestHost, *, capacity: int) -> None:
        name, _, port = address.rpartition(":")
        self.host = host
        self.turns = threading.BoundedSemaphore(capacity)
        self._capacity = capacity
        self.running: set[_Handler] = set()  # those that occupy a turn
        super().__init__((name or "127.0.0.1", int(port)), _Handler)

    def is_stuck(self) -> bool:
        """Return True if every turn runs a step whose caller has hung up: the worker does no useful work.

        Such steps may never return, so a supervisor should restart the worker.
        """
        running = self.running.copy()
        return len(running) >= self._capacity and all(call.hung_up() for call in running)


class _Handler(BaseHTTPRequestHandler):
    timeout = IDLE_SECONDS
    server: Server

    def do_GET(self) -> None:
        if self.server.is_stuck():
            self._send(503, DOWN)
        else:
            self._send(*self._response(b""))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._send(411, b"")
        elif int(length) > LARGEST_BODY:
            self._send(413, b"")
        else:
            body = self.rfile.read(int(length))
            while not self.server.turns.acquire(timeout=TURN_CHECK_SECONDS):
                if self.hung_up():
                    return
                if self.server.is_stuck():
                    self._send(503, DOWN)
                    return
            try:
                if self.hung_up():
                    return
                self.server.running.add(self)
                status, text = self._response(body)
                if self.server.host.supervisor.is_short:
                    self._send(status, text)
                    self.server.host.supervisor.occupy()
                    return
            finally:
                self.server.running.discard(self)
                self.server.turns.release()
                if self.server.host.must_stop:
                    threading.Thread(target=self.server.shutdown).start()
            self._send(status, text)

    def _response(self, body: bytes) -> Response:
        try:
            headers = dict(self.headers.items())
            return self.server.host.respond(self.command, self.path, headers, body, hung_up=self.hung_up)
        except BaseException as error:
            warn_of(error, "A request failed")
            return 500, b""

    def hung_up(self) -> bool:
        """Return True if the caller has closed the connection. Reads nothing and never waits."""
        readable = select.poll()
        try:
            readable.register(self.connection, select.POLLIN)
            return bool(readable.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", str(RETRY_SECONDS))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - its parent's name
        with suppress(BaseException):  # the author's log handlers may raise
            log.debug(format, *values)
