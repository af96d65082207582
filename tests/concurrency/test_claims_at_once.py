"""Submissions on an idle system, which are claimed with their insertion."""

from collections.abc import Iterator
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.db import transaction

from executions.holds import holds
from executions.models import Execution
from executions.state_machine.moves import Claim
from executions.submission import at_once
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.workers.registry import DISPATCH_TASK, drain
from foundation import wakeup
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.building import eventually
from tests.concurrency.sessions import thread

Ready = tuple[Tenant, Release]


class Dispatcher:
    """The thread that dispatches. It sends nothing."""

    def __init__(self) -> None:
        self.handed: list[Claim] = []
        self.woken = Event()
        self.thread = wakeup.handle_here(
            DISPATCH_TASK, self.woken.set, lambda claims: partial(self.handed.extend, claims)
        )
        wakeup.send_once(DISPATCH_TASK)
        self.rest()

    def rest(self) -> None:
        """Wait until it is idle."""
        eventually(lambda: wakeup.is_idle_here(DISPATCH_TASK) and at_once.is_possible(1), what="an idle thread")
        self.woken.clear()


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    made = Dispatcher()
    yield made
    made.thread.close()


def submit(owner: Tenant, *keys: str) -> list[Execution]:
    requests = [ExecutionRequest(making.PIPELINE, idempotency_key=key, input={"n": 1}) for key in keys]
    verdicts = submit_many(owner, requests, actor="token:test")
    assert all(isinstance(each, Submission) for each in verdicts)
    return list(Execution.objects.order_by("execution_key"))


def history(execution: Execution) -> list[tuple[int, str, str]]:
    return list(execution.events.order_by("sequence").values_list("sequence", "kind", "status"))


def test_an_execution_is_claimed_when_it_is_accepted(ready: Ready, dispatcher: Dispatcher) -> None:
    made = submit(ready[0], "a", "b")
    for each in made:
        assert history(each) == [(1, "SUBMITTED", "QUEUED"), (2, "CLAIMED", "RUNNING")]
        assert each.status == "RUNNING"
        assert each.updated_at == each.created_at
    eventually(lambda: len(dispatcher.handed) == 2, what="the claims")
    assert {each.lease_token for each in dispatcher.handed} == {each.lease_token for each in made}
    assert not dispatcher.woken.is_set(), "nothing is left to claim"


def pause(owner: Tenant) -> None:
    holds.pause(Release.objects.get().pipeline, actor="user:eva", reason="x", refuses_submissions=False)


def drained(owner: Tenant) -> None:
    drain(owner, making.PIPELINE, "worker-1", actor="user:eva")


@pytest.mark.parametrize("change", [pause, drained])
def test_what_may_not_be_claimed_waits_in_the_queue(
    change: Any, ready: Ready, dispatcher: Dispatcher, settings: Any
) -> None:
    """The admission is cached, so the submission does not know yet."""
    settings.SUBMISSION_CACHE_SECONDS = 600
    submit(ready[0], "a")
    dispatcher.rest()
    change(ready[0])
    dispatcher.rest()
    _, late = submit(ready[0], "b")
    assert history(late) == [(1, "SUBMITTED", "QUEUED")]
    assert dispatcher.woken.wait(30), "the thread looks for what is left"
    assert not at_once.is_possible(1), "the next submissions do not try"


def test_a_submission_does_not_wait_for_a_pause_in_progress(ready: Ready, dispatcher: Dispatcher) -> None:
    submit(ready[0], "a")
    dispatcher.rest()
    with thread() as other:
        with transaction.atomic():
            pause(ready[0])
            other.submit(submit, ready[0], "b").result(30)
        assert making.claimed(ready[0]) == []
    assert history(Execution.objects.get(execution_key="b")) == [(1, "SUBMITTED", "QUEUED")]


def test_a_claim_that_fails_fails_no_submission(ready: Ready, dispatcher: Dispatcher, settings: Any) -> None:
    settings.LEASE_SECONDS = 1e300  # more than an interval holds
    [made] = submit(ready[0], "a")
    assert history(made) == [(1, "SUBMITTED", "QUEUED")]
    assert dispatcher.woken.wait(30)
    assert not at_once.is_possible(1), "the next submissions do not try"
