import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from executions.lifecycle import interventions, rest_calls, sweep
from executions.models import Execution, WireForm, Worker
from executions.state_machine.moves import Claim
from executions.transports import rest
from foundation import exchange, places
from foundation.places import Places
from releases import policy
from tests import making
from tests.concurrency.sessions import ended_after, race, results_of, stopped_at_row, stopped_before_writing
from tests.executions.transports.rest.conftest import serve
from tests.executions.transports.rest.order_flow import PIPELINE, Flow, hosted, submit
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, ENCODING, StrictWorker, completed
from tests.few_places import limited
from tests.raw_sql import run
from tests.running import eventually

__all__ = ["serve"]


@pytest.fixture
def flow(committed: None, serve: Callable[[StrictWorker], StrictWorker], settings: Any) -> Flow:
    release = making.active(making.tenant(), pipeline_id=PIPELINE, steps=CONTRACT_STEPS, transport="REST")
    policy.change(release.pipeline, {"repeatUnknownOutcomes": True, "retryDelaySeconds": 0}, actor="user:test")
    made = hosted(release, serve, settings)
    settings.REST_WORKER_TIMEOUT_SECONDS = 30
    return made


@pytest.fixture
def made(flow: Flow) -> Execution:
    return submit(flow)


@pytest.fixture
def claim(flow: Flow, made: Execution) -> Claim:
    return flow.claim()


def test_a_message_that_several_processes_get_calls_the_worker_once(flow: Flow, made: Execution, claim: Claim) -> None:
    assert rest.send_claims([claim]) == []
    taken = results_of(race(*(partial(rest_calls.run, claim.execution_id, claim.lease_token) for _ in range(6))))
    assert sorted(taken) == [False] * 5 + [True]
    assert len(flow.double.commands) == 1
    assert making.reread(made).status == "WAITING_EXTERNAL"


@pytest.mark.parametrize(
    ("lock", "free"),
    [
        pytest.param("SELECT FROM executions_execution FOR UPDATE", 1, id="before it is taken up"),
        pytest.param("LOCK TABLE releases_contract IN ACCESS EXCLUSIVE MODE", 1, id="afterwards"),
        pytest.param("SELECT FROM executions_execution FOR UPDATE", 0, id="without a free place"),
    ],
)
def test_an_outdated_message_calls_no_worker(flow: Flow, made: Execution, claim: Claim, lock: str, free: int) -> None:
    later = timezone.now() + timedelta(days=1)
    change = partial(Execution.objects.update, lease_token=uuid.uuid4(), lease_expires_at=later)
    with limited(places.CALLS, free):
        call = partial(rest_calls.run, claim.execution_id, claim.lease_token)
        assert ended_after(partial(run, lock), call, change).result() is False
    assert flow.double.commands == []
    assert making.reread(made).lease_expires_at == later


def test_a_result_outlives_a_lost_connection_in_one_transaction(flow: Flow, made: Execution, claim: Claim) -> None:
    output = {"payloadTypeId": "com.acme.Order", "payloadEncoding": ENCODING, "payload": '{"n":1}'}
    flow.double.answers = [completed(output)]
    call = partial(rest_calls.run, claim.execution_id, claim.lease_token)
    with stopped_before_writing(WireForm, call) as stopped:
        stopped.disconnect()
        assert (making.reread(made).status, WireForm.objects.count()) == ("RUNNING", 0)
        assert stopped.finish()
    assert (making.reread(made).status, WireForm.objects.count(), len(flow.double.commands)) == ("SUCCEEDED", 1, 1)


def test_a_late_rejection_releases_no_newer_claim(flow: Flow, made: Execution, claim: Claim, settings: Any) -> None:
    """Calls of the worker are no longer allowed. Recording that takes until the lease has expired."""
    settings.REST_WORKER_ORIGINS = []
    with stopped_at_row(flow.worker, partial(rest_calls.run, made.pk, claim.lease_token)) as stopped:
        Execution.objects.filter(pk=made.pk).update(lease_expires_at=making.LONG_AGO)
        assert sweep.expire_leases() == 1
        [again] = making.claimed(flow.owner)
        assert not stopped.finish()
    assert (making.reread(made).status, made.lease_token) == ("RUNNING", again.lease_token)


def test_a_worker_that_another_process_has_just_claimed_is_not_checked(flow: Flow) -> None:
    Worker.objects.update(capability_checked_at=None, capability_claimed_at=None)

    def claim_and_check() -> object:
        with rest.turns(Places()).take() as due:
            return due

    lock = partial(run, "SELECT FROM executions_worker FOR UPDATE")
    claim = partial(run, "UPDATE executions_worker SET capability_claimed_at = now()")
    assert ended_after(lock, claim_and_check, claim).result() is None


def test_a_response_does_not_apply_to_a_newer_registration_of_the_worker(flow: Flow) -> None:
    flow.double.slow_seconds, flow.double.faults = 2.0, ["slow"]

    def register_again() -> None:
        eventually(lambda: flow.double.requests, what="the check")
        flow.register(endpoint="http://x")

    results_of(race(flow.check, register_again))
    assert Worker.objects.get().capability_checked_at is None


def test_no_outage_ends_a_call(flow: Flow, made: Execution, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the worker responds slowly, the lease is checked several times, and each connection attempt fails."""
    flow.double.faults, flow.double.slow_seconds = ["slow"], 0.5
    monkeypatch.setattr(exchange, "CHECK_SECONDS", 0.05)
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    assert rest_calls.run(claim.execution_id, claim.lease_token)
    assert making.reread(made).status == "SUCCEEDED"


def test_a_cancellation_ends_the_call_of_the_worker(flow: Flow, made: Execution, claim: Claim) -> None:
    assert rest.send_claims([claim]) == []
    flow.double.faults, flow.double.slow_seconds = ["slow"], 25.0

    def cancel() -> float:
        eventually(lambda: flow.double.requests, what="the call")
        interventions.cancel(flow.owner, made.pk, actor="user:test", reason="a test")
        return time.monotonic()

    def call() -> float:
        assert rest_calls.run(claim.execution_id, claim.lease_token)
        return time.monotonic()

    cancelled, ended = results_of(race(cancel, call))
    assert 0 < ended - cancelled < 10
    assert making.reread(made).status == "CANCELLED"
