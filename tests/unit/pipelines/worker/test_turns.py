"""The turns of an HTTP worker: which calls get and release them, what a caller that hangs up causes, and the end."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from pipelines.worker.rest_host import HEALTH_PATH, RestHost
from pipelines.worker.rest_worker import Server
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_rest_host import (
    EXECUTE,
    SECRET,
    command,
    listening,
    payload,
    signed,
)


class Calls:
    """Calls of a worker over HTTP, also over a plain socket."""

    def __init__(self, hosted: Hosted, server: Server) -> None:
        self.hosted = hosted
        self.identity = server.host.release.identity
        self.address = ("127.0.0.1", int(server.server_address[1]))
        self.url = f"http://127.0.0.1:{self.address[1]}"

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

    def connected(self, number: int) -> socket.socket:
        """Return a connection over which the call has been sent."""
        body = self.body(number)
        headers = {**signed("POST", EXECUTE, body), "Content-Length": str(len(body))}
        lines = [f"POST {EXECUTE} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        made = socket.create_connection(self.address, timeout=10)
        made.sendall("\r\n".join(lines).encode() + body)
        return made

    def get(self, path: str = HEALTH_PATH) -> int:
        return requests.get(self.url + path, headers=signed("GET", path, b""), timeout=10).status_code


@contextmanager
def calling(hosted: Hosted, capacity: int = 1) -> Iterator[tuple[Server, Calls]]:
    """Serve the release. After the block, its steps end."""
    with listening(RestHost(hosted.host().release, secret=SECRET, prefixes=("hosted_",)), capacity) as server:
        try:
            yield server, Calls(hosted, server)
        finally:
            hosted.finish()


def handlers() -> int:
    return sum("process_request_thread" in each.name for each in threading.enumerate())


def test_no_more_transitions_run_at_once_than_there_are_turns(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls), calls.connected(99) as first:
        eventually(hosted.marks, what="the first")
        with calls.connected(1) as second:
            threading.Event().wait(0.2)
            assert hosted.marks() == [99]
            hosted.finish()
            assert all(b" 200 " in each.recv(100) for each in (first, second))
    assert hosted.marks() == [99, 1]


def test_a_call_whose_caller_hung_up_does_not_run_when_its_turn_comes(
    hosted: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends while it waits, before its command is read, so it reports no failure. Its turn is free for the next."""
    with calling(hosted) as (server, calls):
        before = handlers()
        with server.turns:
            waiting = calls.connected(1)
            eventually(lambda: handlers() == before + 1, what="the call")
            waiting.close()
            eventually(lambda: handlers() == before, what="the end of the call")
        assert server.turns.acquire(timeout=10), "the turn was not released"
        with pytest.raises(requests.Timeout):
            calls.call(3, 0.2)
        server.turns.release()
        assert calls.call(4).json()["outcome"] == "COMPLETED"
    assert hosted.marks() == [4]
    assert caplog.messages == []


def test_a_step_learns_that_the_caller_has_hung_up(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls):
        with calls.connected(98):
            eventually(hosted.marks, what="the step's start")
        assert calls.call(1).json()["outcome"] == "COMPLETED"


def test_a_worker_is_down_while_each_turn_runs_a_step_whose_caller_has_hung_up(hosted: Hosted) -> None:
    with calling(hosted, 2) as (_, calls):
        first, second = calls.connected(99), calls.connected(99)
        eventually(lambda: len(hosted.marks()) == 2, what="both steps")
        first.close()
        assert [calls.get() for _ in range(3)] == [200] * 3
        second.close()
        eventually(lambda: calls.get() == 503, what="the worker to be down")
        hosted.finish()
        eventually(lambda: calls.get() == 200, what="the worker to be up again")
