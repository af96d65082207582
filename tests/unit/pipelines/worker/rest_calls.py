"""Calls of the tests to a worker over HTTP, each in a thread or over a plain socket."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from pipelines.worker.rest_host import HEALTH_PATH, RestHost
from pipelines.worker.rest_worker import Server
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_rest_host import EXECUTE, SECRET, command, listening, payload, signed


class Calls:
    def __init__(self, hosted: Hosted, server: Server) -> None:
        self.hosted = hosted
        self.identity = server.host.release.identity
        self.address = ("127.0.0.1", int(server.server_address[1]))
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.answers: list[dict[str, Any]] = []
        self.threads: list[threading.Thread] = []

    def body(self, number: int) -> bytes:
        pin = {
            "pipelineId": self.identity.pipeline_id,
            "contractVersion": self.identity.contract_version,
            "releaseVersion": self.identity.release_version,
        }
        return json.dumps(command(payload(f"{self.hosted.module}.Order", {"number": number}), **pin)).encode()

    def call(self, number: int, seconds: float = 10) -> requests.Response:
        body = self.body(number)
        return requests.post(self.url + EXECUTE, data=body, headers=signed("POST", EXECUTE, body), timeout=seconds)

    def begin(self, number: int) -> None:
        self.threads.append(threading.Thread(target=lambda: self.answers.append(self.call(number).json())))
        self.threads[-1].start()

    def connected(self, number: int) -> socket.socket:
        """Return a connection over which the call has been sent."""
        body = self.body(number)
        headers = {**signed("POST", EXECUTE, body), "Content-Length": str(len(body))}
        lines = [f"POST {EXECUTE} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        made = socket.create_connection(self.address)
        made.sendall("\r\n".join(lines).encode() + body)
        return made

    def get(self, path: str = HEALTH_PATH) -> int:
        return requests.get(self.url + path, headers=signed("GET", path, b""), timeout=10).status_code

    def finish(self) -> None:
        self.hosted.finish()
        for each in self.threads:
            each.join(10)
            assert not each.is_alive()


@contextmanager
def calling(hosted: Hosted, capacity: int = 1) -> Iterator[tuple[Server, Calls]]:
    """Serve the release. After the block, all calls end."""
    with listening(RestHost(hosted.host().release, secret=SECRET, prefixes=("hosted_",)), capacity) as server:
        calls = Calls(hosted, server)
        try:
            yield server, calls
        finally:
            calls.finish()
