"""Serves the strict worker over HTTP, with its faults."""

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests import http_server
from tests.executions.transports.rest.strict_worker import BadRequestError, StrictWorker, completed
from tests.http_server import HttpServer, body_of
from tests.receiving import Received


class WorkerServer(HttpServer):
    def __init__(self, worker: StrictWorker, port: int) -> None:
        super().__init__(port=port)
        self.worker = worker
        worker.port = self.port

    def respond(self, request: http_server.Request) -> None:
        worker = self.worker
        received = Received(request.command, request.path, dict(request.headers), body_of(request))
        worker.requests.append(received)
        status = worker.refusal(received)
        if status is not None:
            self._send(request, status, b"")
        elif request.command == "GET":
            if worker.faults == ["slow"]:
                time.sleep(worker.slow_seconds)
            self._send(request, 200, json.dumps(worker.capability_document()).encode())
        elif fault := worker.faults.pop(0) if worker.faults else "":
            self._misbehave(request, fault)
        else:
            self._execute(request, received.body)

    def _execute(self, request: http_server.Request, body: bytes) -> None:
        worker = self.worker
        try:
            command = worker.parse(body)
            answer = worker.answers.pop(0) if worker.answers else worker.run(command)
        except (BadRequestError, LookupError, ValueError):
            self._send(request, 400, b"")
            return
        self._send(request, 200, json.dumps(answer(command) if callable(answer) else answer).encode())

    def _misbehave(self, request: http_server.Request, fault: str) -> None:
        if fault == "slow":
            time.sleep(self.worker.slow_seconds)
            self._send(request, 200, json.dumps(completed()).encode())
        elif fault == "drop":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
        elif fault == "redirect":
            self._send(request, 307, b"", Location=f"{self.worker.endpoint}/elsewhere")
        elif fault == "huge":
            self._send(request, 200, b'"' + b"x" * 200_000 + b'"')
        else:
            status, _, text = fault.partition(" ")
            self._send(request, int(status), text.encode())

    def _send(self, request: http_server.Request, status: int, body: bytes, **headers: str) -> None:
        if request.command == "POST":  # checks for a worker of another test at this port may arrive too
            self.worker.statuses.append(status)
        http_server.send(request, status, headers, body)


@contextmanager
def serving(worker: StrictWorker, port: int = 0) -> Iterator[StrictWorker]:
    """Serve the worker on `port`, or on any free port if it is 0. `worker.endpoint` contains it."""
    with WorkerServer(worker, port).running():
        yield worker
