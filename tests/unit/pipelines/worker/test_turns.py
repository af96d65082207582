"""The turns of an HTTP worker: which calls get and release them, and how the worker shuts down."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from examples.orders.pipeline import pipeline as orders
from pipelines.worker.hosted_release import HostedRelease
from pipelines.worker.rest_host import HEALTH_PATH, RestHost
from pipelines.worker.rest_worker import IDLE_SECONDS, Server
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_rest_host import (
    EXECUTE,
    IDENTITY,
    ORDER,
    SECRET,
    command,
    payload,
    posted,
    signed,
    uni,
)
from wire.messages.limits import LONGEST_OUTCOME


class Calls:
    """Calls to a server, each in a thread or over a plain socket."""

    def __init__(self, hosted: Hosted, server: Server) -> None:
        self.hosted = hosted
        self.address = ("127.0.0.1", int(server.server_address[1]))
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.answers: list[dict[str, Any]] = []
        self.threads: list[threading.Thread] = []

    def _body(self, number: int) -> bytes:
        identity = self.hosted.host().release.identity
        pin = {
            "pipelineId": identity.pipeline_id,
            "contractVersion": identity.contract_version,
            "releaseVersion": identity.release_version,
        }
        return json.dumps(command(payload(f"{self.hosted.module}.Order", {"number": number}), **pin)).encode()

    def begin(self, number: int) -> None:
        body = self._body(number)
        headers = signed("POST", EXECUTE, body)

        def call() -> None:
            self.answers.append(requests.post(self.url + EXECUTE, data=body, headers=headers, timeout=30).json())

        self.threads.append(threading.Thread(target=call))
        self.threads[-1].start()

    def connected(self, number: int) -> socket.socket:
        """Return a connection over which the call has been sent."""
        body = self._body(number)
        headers = {**signed("POST", EXECUTE, body), "Content-Length": str(len(body))}
        lines = [f"POST {EXECUTE} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        made = socket.create_connection(self.address)
        made.sendall("\r\n".join(lines).encode() + body)
        return made

    def finish(self) -> None:
        (self.hosted.folder / "go").touch()
        for each in self.threads:
            each.join(10)
            assert not each.is_alive()


@contextmanager
def serving(hosted: Hosted, capacity: int) -> Iterator[tuple[Server, Calls]]:
    server = Server(
        "127.0.0.1:0", RestHost(hosted.host().release, secret=SECRET, prefixes=("hosted_",)), capacity=capacity
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    calls = Calls(hosted, server)
    try:
        yield server, calls
    finally:
        calls.finish()
        server.shutdown()
        server.server_close()
        thread.join(10)


def handlers() -> int:
    return sum("process_request_thread" in each.name for each in threading.enumerate())


def test_no_more_transitions_run_at_once_than_there_are_turns(hosted: Hosted) -> None:
    with serving(hosted, 1) as (_, calls):
        calls.begin(99)
        eventually(hosted.marks, what="the first")
        calls.begin(1)
        calls.threads[-1].join(0.2)
        assert hosted.marks() == [99]
    assert hosted.marks() == [99, 1]
    assert [each["outcome"] for each in calls.answers] == ["COMPLETED"] * 2


def test_a_call_whose_caller_hung_up_does_not_run_when_its_turn_comes(
    hosted: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped before its command is read, so it reports no failure. Its turn is free for the next call."""
    with serving(hosted, 1) as (server, calls):
        before = handlers()
        with server.turns:
            calls.connected(1).close()
            eventually(lambda: handlers() > before, what="the call")
        eventually(lambda: handlers() == before, what="the end of the call")
        calls.begin(2)
    assert hosted.marks() == [2]
    assert caplog.messages == []


def test_a_call_that_waits_ends_once_its_caller_has_hung_up(hosted: Hosted) -> None:
    with serving(hosted, 1) as (server, calls), server.turns:
        before = handlers()
        waiting = calls.connected(1)
        eventually(lambda: handlers() > before, what="the call")
        waiting.close()
        eventually(lambda: handlers() == before, what="the end of the call")


def test_a_worker_is_up_while_one_caller_of_several_still_waits(hosted: Hosted) -> None:
    with serving(hosted, 2) as (_, calls):
        calls.begin(99)
        gone = calls.connected(99)
        eventually(lambda: len(hosted.marks()) == 2, what="both steps")
        gone.close()
        for _ in range(3):
            assert requests.get(calls.url + HEALTH_PATH, timeout=10).status_code == 200


def test_a_worker_that_ends_finishes_its_running_transitions(hosted: Hosted) -> None:
    with serving(hosted, 1) as (server, calls):
        calls.begin(99)
        eventually(hosted.marks, what="the step")
        server.shutdown()
        ending = threading.Thread(target=server.server_close)
        ending.start()
        ending.join(0.2)
        assert ending.is_alive()
        calls.finish()
        ending.join(10)
        assert not ending.is_alive()
    assert [each["outcome"] for each in calls.answers] == ["COMPLETED"]


@pytest.mark.parametrize(
    ("customer", "reason"),
    [
        pytest.param("x" * LONGEST_OUTCOME, "the output cannot be sent", id="one payload is too long"),
        # In the response, the payload is a string in JSON, which doubles the backslashes before its quotes.
        pytest.param('"' * (LONGEST_OUTCOME // 3), "the outcome has", id="all together are"),
    ],
)
def test_a_result_that_the_coordinator_would_not_read_is_a_failure(customer: str, reason: str) -> None:
    host = RestHost(HostedRelease(orders, IDENTITY, "app", "sha256:1"), secret=SECRET)
    status, answer = posted(host, command(uni({**ORDER, "customer": customer}), stopBeforeStepIndex=0))
    assert (status, answer["outcome"]) == (200, "FAILED")
    assert f"OUTPUT_TOO_LARGE: {reason}" in answer["failure"]["message"]


def test_a_caller_that_sends_nothing_is_hung_up_on(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(hosted, 1) as (server, calls):
        handler: Any = server.RequestHandlerClass
        assert handler.timeout == IDLE_SECONDS
        monkeypatch.setattr(handler, "timeout", 0.1)
        with socket.create_connection(calls.address, timeout=10) as silent:
            assert silent.recv(1) == b""
