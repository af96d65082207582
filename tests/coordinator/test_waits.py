"""Requests that wait for the end of an execution: their places, and how a process learns of the end.

`tests/e2e/test_waits.py` has what needs a server.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Event
from typing import Any

import pytest

from coordinator.waits import PROTOCOL, Deferred, Waits
from executions.state_machine.endings import Demand, Endings, announce
from tests.building import eventually
from tests.cases import cases
from tests.wakeups import Commits

pytestmark = pytest.mark.django_db
SECONDS = 10
HEADERS = {"X-Request-ID": "1"}


class Later(Future[int]):
    """Granian's object that sends a response. Its result is the status."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.set_result(status)


def running(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that has one execution of each tenant."""
    start_response("200 OK", [*HEADERS.items()])
    return [json.dumps({"status": "SUCCEEDED" if "ended" in environ["PATH_INFO"] else "RUNNING"}).encode()]


def address(tenant: str, execution: uuid.UUID) -> str:
    return f"/api/v1/tenants/{tenant}/executions/{execution}"


def asked(waits: Waits, tenant: str, seconds: int = 2, **environ: str) -> Later | tuple[str, dict[str, str]]:
    """Return the status and the headers of the response, or what sends it later."""
    response: list[Any] = []
    later = Later()
    path = address(tenant, uuid.uuid4())
    members = {"PATH_INFO": path, "QUERY_STRING": f"wait={seconds}", "REQUEST_METHOD": "GET", PROTOCOL: later}
    try:
        waits({**members, **environ}, lambda status, headers: response.extend((status, dict(headers))))
    except Deferred:
        return later
    return response[0], response[1]


@cases(
    ("tenant", "changes"),
    [
        ("t-ended", {}),
        ("t", {"QUERY_STRING": "wait=0"}),
        ("t", {"QUERY_STRING": ""}),
        ("t", {"QUERY_STRING": "await=5"}),
        ("t", {"REQUEST_METHOD": "HEAD"}),
        ("t", {"PATH_INFO": "/api/v1/tenants/t/executions"}),
    ],
)
def test_a_request_is_answered_at_once(tenant: str, changes: dict[str, str]) -> None:
    assert asked(Waits(running, most=2), tenant, 20, **changes) == ("200 OK", HEADERS)


@cases("wait", ["31", "-1", "1.5", "", "1&wait=2"])
def test_an_invalid_wait_is_rejected(wait: str) -> None:
    answer = asked(Waits(running, most=2), "t-ended", QUERY_STRING=f"wait={wait}")
    assert not isinstance(answer, Later)
    assert answer[0] == "400 Bad Request"


def test_a_tenant_parks_as_many_requests_as_it_leaves_free() -> None:
    waits = Waits(running, most=4)
    first = asked(waits, "busy", 1)
    assert isinstance(first, Later)
    assert isinstance(asked(waits, "busy"), Later)
    refused = asked(waits, "busy")
    assert isinstance(refused, tuple)
    assert refused[0].startswith("429")
    assert refused[1]["Retry-After"] == "5"
    other = asked(waits, "other")
    assert isinstance(other, Later)
    assert first.result(SECONDS) == 200
    assert isinstance(asked(waits, "busy"), Later)
    assert other.result(SECONDS) == 200


def test_the_answers_of_a_tenant_delay_those_of_others_by_one_turn() -> None:
    slowly = Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if slowly.is_set() and "busy" in environ["PATH_INFO"]:
            time.sleep(0.2)
        return running(environ, start_response)

    waits = Waits(application, most=200)
    later = [asked(waits, tenant, 1) for tenant in (*["busy"] * 80, "other")]
    slowly.set()
    answers = [wait for wait in later if isinstance(wait, Later)]
    assert answers[-1].result(SECONDS) == 200
    assert sum(wait.done() for wait in answers) < len(later) / 2


def test_a_wait_whose_answer_fails_gets_an_error() -> None:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_X_REQUEST_ID" in environ:  # the second request has the id of the first
            raise OSError
        return running(environ, start_response)

    waits = Waits(application, most=2)
    failing = asked(waits, "t", 1)
    assert isinstance(failing, Later)
    assert failing.result(SECONDS) == 500
    assert isinstance(asked(waits, "t", 1), Later), "its place is free"


def test_a_slow_answer_delays_no_other_client(django_capture_on_commit_callbacks: Commits) -> None:
    goes_on = Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_X_REQUEST_ID" in environ and "slow" in environ["PATH_INFO"]:
            goes_on.wait(5 * SECONDS)
        return running(environ, start_response)

    waits = Waits(application, most=4)
    executions = {tenant: uuid.uuid4() for tenant in ("slow", "other")}
    later = [asked(waits, name, 20, PATH_INFO=address(name, pk)) for name, pk in executions.items()]

    def announced(execution: uuid.UUID, answer: object) -> bool:
        with django_capture_on_commit_callbacks(execute=True):
            announce([execution])
        return isinstance(answer, Later) and answer.done()

    try:
        announced(executions["slow"], later[0])
        eventually(lambda: announced(executions["other"], later[1]), seconds=SECONDS, what="the other answer")
    finally:
        goes_on.set()


def test_processes_announce_endings_while_clients_wait(django_capture_on_commit_callbacks: Commits) -> None:
    ended = {uuid.uuid4(), uuid.uuid4()}
    follower = Demand(valid_seconds=0.5)
    follower.follow()
    eventually(lambda: not follower.exists, what="the end of the demand")
    waiting = Endings()
    try:
        eventually(lambda: follower.exists, what="the demand")
        with django_capture_on_commit_callbacks(execute=True):
            announce(ended)
            assert waiting.received(seconds=0.1) == set()
        assert waiting.received(seconds=SECONDS) == ended
        eventually(lambda: not follower.exists, what="the end of the demand")
    finally:
        waiting.close()
