import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.db import connection, transaction

from executions.holds import holds
from executions.models import Execution, SmokeTest
from executions.state_machine.moves import Claim
from executions.submission import at_once
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.workers.registry import DISPATCH_TASK, drain
from foundation import wakeup
from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.retirement.retirement import revoke
from governance.smoke_tests.smoke_tests import start
from releases import policy
from releases.models import Release
from tenancy.models import Tenant
from tests import gradual, making
from tests.building import eventually
from tests.concurrency.sessions import race, results_of, thread, until_blocked
from tests.deaths import each_death
from tests.interop.client import call, payload, switch_on
from tests.making import release_of

Verdicts = list[Submission | CoordinatorError]
ACTOR = "user:ann"
KEYS = ("a", "b", "c")


@contextmanager
def submitting(
    owner: Tenant, batch: Sequence[ExecutionRequest], *, within: Callable[[], Any] = nullcontext
) -> Iterator["Future[Verdicts]"]:
    """Submit a batch in a separate thread, in the context `within`. Its INSERT has read the tables and waits while the
    block runs.

    Another transaction has inserted the first key of the batch and is rolled back when the block ends.
    """

    def run() -> Verdicts:
        with within():
            return submit_many(owner, batch, actor="token:test")

    with thread() as other:
        with transaction.atomic():
            submit_many(owner, batch[:1], actor="token:other")
            future = other.submit(run)
            until_blocked(connection)
            yield future
            transaction.set_rollback(True)
        future.result(30)


@pytest.fixture
def owner() -> Tenant:
    made, _ = making.ready()
    gradual.candidate(made)
    grace(made, 10)
    return made


def grace(owner: Tenant, minutes: int) -> None:
    policy.change(release_of(owner, "1.0").pipeline, {"skewGraceMinutes": minutes}, actor=ACTOR)


def switch(owner: Tenant) -> None:
    activate(release_of(owner, "2.0"), actor=ACTOR)


def revocation(owner: Tenant) -> None:
    revoke(release_of(owner, "1.0"), actor=ACTOR, reason="leaked")


def replacement(owner: Tenant) -> None:
    switch(owner)
    revocation(owner)


@pytest.mark.parametrize(
    ("named", "is_replaced", "meanwhile", "verdict"),
    [
        (None, False, revocation, "ACTIVE_RELEASE_REVOKED"),
        (None, False, replacement, "2.0"),
        ("1.0", False, switch, "1.0"),
        ("1.0", True, partial(grace, minutes=0), "RELEASE_NOT_OPEN"),
        ("1.0", True, revocation, "RELEASE_NOT_ADMITTED"),
    ],
)
@pytest.mark.parametrize("within", [nullcontext, transaction.atomic])
def test_each_item_of_a_batch_gets_the_verdict_of_what_happened_while_its_insert_waited(
    owner: Tenant,
    within: Callable[[], Any],
    named: str | None,
    is_replaced: bool,
    meanwhile: Callable[[Tenant], None],
    verdict: str,
) -> None:
    if is_replaced:
        switch(owner)
    batch = [ExecutionRequest(making.PIPELINE, {"n": 1}, key, release_version=named) for key in KEYS]
    with submitting(owner, batch, within=within) as submitted:
        results_of(race(partial(meanwhile, owner)))
    verdicts = [
        result.code if isinstance(result, CoordinatorError) else result.release_version for result in submitted.result()
    ]
    assert verdicts == [verdict] * len(KEYS)
    made = Execution.objects.values_list("release_version", flat=True)
    assert list(made) == ([verdict] * len(KEYS) if verdict[0].isdigit() else [])


def test_requests_with_one_key_start_one_smoke_test(owner: Tenant) -> None:
    def begin() -> tuple[Any, bool]:
        started = start(release_of(owner, "2.0"), actor=ACTOR, input={"n": 1}, idempotency_key="k")
        return started.test.execution_id, started.repeated

    answers = results_of(race(*[begin] * 6))
    assert sorted(repeated for _, repeated in answers) == [False, *[True] * 5]
    assert {made for made, _ in answers} == {SmokeTest.objects.get().execution_id}
    assert Execution.objects.get().smoke


def test_one_request_with_a_client_key_is_admitted_and_none_without_its_receipt(owner: Tenant, settings: Any) -> None:
    switch_on(settings)
    release = release_of(owner, "1.0")
    path = f"control-plane/tenants/{owner.slug}/pipelines/{making.PIPELINE}/execution-admissions"
    pin = {"contractVersion": release.contract_version, "releaseVersion": release.release_version}

    def admit(number: int) -> tuple[int, bytes]:
        sent = {"inputShape": "UNI", "inputPayload": payload("java.lang.Integer", number)}
        answer = call("POST", path, {"clientKey": "k", **pin, **sent})
        return answer.status_code, answer.content

    assert "INSERT" in next(each_death(lambda: admit(1), text="executions_admissionreceipt"))
    assert not Execution.objects.exists()
    answers = results_of(race(*[partial(admit, number) for number in (1, 2) * 3]))
    assert sorted(status for status, _ in answers) == [200] * 3 + [409] * 3
    [receipt] = {content for status, content in answers if status == 200}
    assert json.loads(receipt)["executionId"] == str(Execution.objects.get().pk)


# --- executions that are claimed with their submission ---

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


def accepted(owner: Tenant, *keys: str) -> list[Execution]:
    requests = [ExecutionRequest(making.PIPELINE, idempotency_key=key, input={"n": 1}) for key in keys]
    verdicts = submit_many(owner, requests, actor="token:test")
    assert all(isinstance(verdict, Submission) for verdict in verdicts)
    return list(Execution.objects.order_by("execution_key"))


def event_rows(execution: Execution) -> list[tuple[int, str, str]]:
    return list(execution.events.order_by("sequence").values_list("sequence", "kind", "status"))


def test_an_execution_is_claimed_when_it_is_accepted(ready: Ready, dispatcher: Dispatcher) -> None:
    made = accepted(ready[0], "a", "b")
    for execution in made:
        assert event_rows(execution) == [(1, "SUBMITTED", "QUEUED"), (2, "CLAIMED", "RUNNING")]
        assert execution.status == "RUNNING"
        assert execution.updated_at == execution.created_at
    eventually(lambda: len(dispatcher.handed) == 2, what="the claims")
    assert {command.lease_token for command in dispatcher.handed} == {execution.lease_token for execution in made}
    assert not dispatcher.woken.is_set(), "nothing is left to claim"


def pause(owner: Tenant) -> None:
    holds.pause(Release.objects.get().pipeline, actor="user:eva", reason="x", refuses_submissions=False)


def drained(owner: Tenant) -> None:
    drain(owner, making.PIPELINE, "worker-1", actor="user:eva")


@pytest.mark.parametrize("change", [pause, drained])
def test_what_may_not_be_claimed_stays_queued(change: Any, ready: Ready, dispatcher: Dispatcher, settings: Any) -> None:
    """The admission is cached, so the submission does not know yet."""
    settings.SUBMISSION_CACHE_SECONDS = 600
    accepted(ready[0], "a")
    dispatcher.rest()
    change(ready[0])
    dispatcher.rest()
    _, late = accepted(ready[0], "b")
    assert event_rows(late) == [(1, "SUBMITTED", "QUEUED")]
    assert dispatcher.woken.wait(30), "the thread looks for what is left"
    assert not at_once.is_possible(1), "the next submissions do not try"


def test_a_submission_does_not_wait_for_a_pause_in_progress(ready: Ready, dispatcher: Dispatcher) -> None:
    accepted(ready[0], "a")
    dispatcher.rest()
    with thread() as other:
        with transaction.atomic():
            pause(ready[0])
            other.submit(accepted, ready[0], "b").result(30)
        assert making.claimed(ready[0]) == []
    assert event_rows(Execution.objects.get(execution_key="b")) == [(1, "SUBMITTED", "QUEUED")]


def test_a_claim_that_fails_fails_no_submission(ready: Ready, dispatcher: Dispatcher, settings: Any) -> None:
    settings.LEASE_SECONDS = 1e300  # more than an interval holds
    [made] = accepted(ready[0], "a")
    assert event_rows(made) == [(1, "SUBMITTED", "QUEUED")]
    assert dispatcher.woken.wait(30)
    assert not at_once.is_possible(1), "the next submissions do not try"
