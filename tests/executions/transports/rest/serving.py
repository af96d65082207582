"""Serves the strict worker over HTTP, with its faults."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.executions.transports.rest.strict_worker import BadRequestError, Request, StrictWorker, completed
from tests.http_server import in_a_thread


@contextmanager
def serving(worker: StrictWorker, port: int = 0) -> Iterator[StrictWorker]:
    """Serve the worker on `port`, or on any free port if it is 0. `worker.endpoint` contains it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = self._request(b"")
            status = worker.refusal(request)
            if status is not None:
                self._send(status, b"")
                return
            if worker.faults == ["slow"]:
                time.sleep(worker.slow_seconds)
            self._send(200, json.dumps(worker.capability_document()).encode())

        def do_POST(self) -> None:
            request = self._request(self.rfile.read(int(self.headers["Content-Length"])))
            status = worker.refusal(request)
            if status is not None:
                self._send(status, b"")
                return
            fault = worker.faults.pop(0) if worker.faults else ""
            if fault:
                self._misbehave(fault)
                return
            try:
                command = worker.parse(request.body)
                answer = worker.answers.pop(0) if worker.answers else worker.run(command)
            except (BadRequestError, LookupError, ValueError):
                self._send(400, b"")
                return
            self._send(200, json.dumps(answer(command) if callable(answer) else answer).encode())

        def _request(self, body: bytes) -> Request:
            request = Request(self.command, self.path, dict(self.headers), body)
            worker.requests.append(request)
            return request

        def _misbehave(self, fault: str) -> None:
            if fault == "slow":
                time.sleep(worker.slow_seconds)
                self._send(200, json.dumps(completed()).encode())
            elif fault == "drop":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif fault == "half":
                self._send(200, b'{"outcome": "COMPL', length=1000)
            elif fault == "redirect":
                self._send(307, b"", {"Location": f"{worker.endpoint}/elsewhere"})
            elif fault == "huge":
                self._send(200, b'"' + b"x" * 200_000 + b'"')
            else:
                status, _, text = fault.partition(" ")
                self._send(int(status), text.encode())

        def _send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None
        ) -> None:
            if self.command == "POST":  # checks for a worker of another test at this port may arrive too
                worker.statuses.append(status)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                return  # the client has closed the connection

        def finish(self) -> None:
            try:
                super().finish()
            except (OSError, ValueError):
                return

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    worker.port = server.server_address[1]
    with in_a_thread(server):
        yield worker
