"""The turns of an HTTP worker: which calls get and release them, what a caller that hangs up causes, and the end."""

import socket
import threading
from typing import Any

import pytest
import requests

from pipelines.worker.rest_worker import IDLE_SECONDS
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.rest_calls import calling
from tests.unit.pipelines.worker.test_rest_host import CAPABILITIES


def handlers() -> int:
    return sum("process_request_thread" in each.name for each in threading.enumerate())


def test_no_more_transitions_run_at_once_than_there_are_turns(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls):
        calls.begin(99)
        eventually(hosted.marks, what="the first")
        calls.begin(1)
        calls.threads[-1].join(0.2)
        assert hosted.marks() == [99]
    assert hosted.marks() == [99, 1]
    assert [each["outcome"] for each in calls.answers] == ["COMPLETED"] * 2


def test_a_call_whose_caller_hung_up_does_not_run_when_its_turn_comes(hosted: Hosted) -> None:
    """It ends while it waits, before its command is read, so it reports no failure. Its turn is free for the next."""
    with calling(hosted) as (server, calls):
        before = handlers()
        with server.turns:
            waiting, waiting_too = calls.connected(1), calls.connected(2)
            eventually(lambda: handlers() == before + 2, what="the calls")
            waiting.close()
            eventually(lambda: handlers() == before + 1, what="the end of the call")
            waiting_too.close()
        eventually(lambda: handlers() == before, what="the end of the other call")
        assert server.turns.acquire(timeout=10), "the turn was not released"
        with pytest.raises(requests.Timeout):
            calls.call(3, 0.2)
        server.turns.release()
        assert calls.call(4).json()["outcome"] == "COMPLETED"
    assert hosted.marks() == [4]


def test_a_step_learns_that_the_caller_has_hung_up(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls):
        with calls.connected(98):
            assert eventually(hosted.marks, what="the step's start") == [98]
        answer = calls.call(1)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "COMPLETED")
    assert hosted.marks() == [98, 1]


def test_a_worker_is_down_while_each_turn_runs_a_step_whose_caller_has_hung_up(hosted: Hosted) -> None:
    with calling(hosted, 2) as (_, calls):
        first, second = calls.connected(99), calls.connected(99)
        eventually(lambda: len(hosted.marks()) == 2, what="both steps")
        assert (calls.get(), calls.get(CAPABILITIES)) == (200, 200)  # the worker is busy, and its callers wait
        first.close()
        for _ in range(3):
            assert calls.get() == 200
        second.close()
        eventually(lambda: calls.get() == 503, what="the worker to be down")
        assert (calls.get(CAPABILITIES), calls.call(1).status_code) == (503, 503)
        hosted.finish()
        eventually(lambda: calls.get() == 200, what="the worker to be up again")
        assert (calls.get(CAPABILITIES), calls.call(2).status_code) == (200, 200)
    assert hosted.marks() == [99, 99, 2]


def test_a_caller_that_sends_nothing_is_hung_up_on(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    with calling(hosted) as (server, calls):
        handler: Any = server.RequestHandlerClass
        assert handler.timeout == IDLE_SECONDS
        monkeypatch.setattr(handler, "timeout", 0.1)
        with socket.create_connection(calls.address, timeout=10) as silent:
            assert silent.recv(1) == b""
