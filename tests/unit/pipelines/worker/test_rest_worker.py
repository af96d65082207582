import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from pipelines.worker.rest_host import HEALTH_PATH, RestHost
from pipelines.worker.rest_worker import IDLE_SECONDS, Server
from pipelines.worker.supervision import Supervisor
from tests.cases import cases
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import LIMITED_SOURCE, Hosted, released
from tests.unit.pipelines.worker.rest_calls import (
    CAPABILITIES,
    EXECUTE,
    SECRET,
    command,
    listening,
    payload,
    pin,
    signed,
)


class Calls:
    def __init__(self, hosted: Hosted, server: Server, url: str) -> None:
        self.hosted, self.url = hosted, url
        self.identity = server.host.release.identity
        self.address = ("127.0.0.1", int(server.server_address[1]))

    def body(self, number: int) -> bytes:
        return command(self.identity, payload(f"{self.hosted.module}.Order", {"number": number}))

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
    host = RestHost(hosted.host().release, secret=SECRET, prefixes=("hosted_",))
    with listening(host, capacity) as (server, url):
        try:
            yield server, Calls(hosted, server, url)
        finally:
            hosted.finish()


def test_it_serves_over_http(hosted: Hosted) -> None:
    with calling(hosted) as (server, calls):
        handler: Any = server.RequestHandlerClass
        assert handler.timeout == IDLE_SECONDS, "a caller that sends nothing is hung up on"
        url, body = calls.url, calls.body(4)
        response = requests.get(url + CAPABILITIES, headers=signed("GET", CAPABILITIES, b""))
        assert response.status_code == 200
        release = server.host.release
        assert response.json().items() >= {**pin(release.identity), "artifactDigest": release.artifact_digest}.items()
        answer = calls.call(4)
        assert (answer.status_code, answer.json()["outcome"]) == (200, "COMPLETED")
        assert answer.headers["Content-Type"] == "application/json"
        assert requests.post(url + EXECUTE, data=body).status_code == 401
        assert requests.get(url + "/").status_code == 404
        assert requests.post(url + EXECUTE, data=iter([body])).status_code == 411
        too_long = requests.Request("POST", url + EXECUTE, data=b"x").prepare()
        too_long.headers["Content-Length"] = str(10**12)
        assert requests.Session().send(too_long, timeout=10).status_code == 413
        assert requests.get(url + "/q/health/live", timeout=10).json()["status"] == "UP"
        with server.turns:
            assert requests.get(url + "/q/health/live", timeout=10).json()["status"] == "UP", "every thread is busy"


def handlers() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_no_more_transitions_run_at_once_than_there_are_turns(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls), calls.connected(99) as first:
        eventually(hosted.marks, what="the first")
        with calls.connected(1) as second:
            threading.Event().wait(0.2)
            assert hosted.marks() == [99]
            hosted.finish()
            assert all(b" 200 " in connection.recv(100) for connection in (first, second))
    assert hosted.marks() == [99, 1]


def test_a_call_whose_caller_hung_up_never_runs(hosted: Hosted, caplog: pytest.LogCaptureFixture) -> None:
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


@cases(("replaceable", "health"), [(0, 503), (1, 200)])
def test_a_step_that_exceeds_its_limit_keeps_its_turn_if_its_thread_is_not_replaced(
    tmp_path: Path, replaceable: int, health: int
) -> None:
    with released(tmp_path, LIMITED_SOURCE) as limited:
        supervisor = Supervisor(replaceable=replaceable)
        host = RestHost(limited.host().release, secret=SECRET, prefixes=("hosted_",), supervisor=supervisor)
        with listening(host) as (server, url):
            calls = Calls(limited, server, url)
            failure = calls.call(99).json()["failure"]
            assert (failure["failureClass"], supervisor.abandoned) == ("STEP_TIMEOUT", 1)
            eventually(lambda: calls.get() == health, what="its health")
            limited.finish()
            eventually(lambda: calls.get() == 200, what="its health again")
            assert calls.call(1).json()["outcome"] == "COMPLETED"
