"""While no message reaches the control workers, no worker becomes silent, and submissions report delayed work."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from executions import tasks
from executions.errors import WorkerUnavailable
from executions.models import Execution, MessagePath, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.submission.submission import Submission, submit
from executions.workers import message_path
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.executions.moments import now
from wire.messages.queues import HEARTBEAT_QUEUE

pytestmark = pytest.mark.django_db
STALE, BEAT, LEASE = 30, 9, 30


@pytest.fixture(autouse=True)
def no_cache(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 0
    settings.MESSAGE_PATH_SECONDS = 15
    settings.LEASE_SECONDS = LEASE


def advance_time(seconds: float) -> None:
    """Simulate the passage of `seconds`: move all stored times back."""
    ago = timedelta(seconds=seconds)
    MessagePath.objects.update(arrived_at=F("arrived_at") - ago, expected_by=F("expected_by") - ago)
    Worker.objects.update(last_heartbeat_at=F("last_heartbeat_at") - ago, alive_until=F("alive_until") - ago)
    Execution.objects.filter(status="RUNNING").update(lease_expires_at=F("lease_expires_at") - ago)


def let_pass(*steps: float) -> None:
    """Let each time pass, and then a message arrive."""
    for seconds in steps:
        advance_time(seconds)
        message_path.confirm()


def state() -> str:
    return WorkerEligibility.objects.get().state


def submitted(owner: Tenant, key: str = "k") -> Submission:
    return submit(owner, pipeline_id=making.PIPELINE, input={"n": 1}, idempotency_key=key, actor="token:test")


def sweep() -> list[float]:
    """Deliver the clock's message. Return the time of the probe that it sends through the queue of heartbeats."""
    taken(HEARTBEAT_QUEUE)
    tasks.sweep()
    return [sent_at for task, [sent_at] in taken(HEARTBEAT_QUEUE) if task == message_path.CONFIRM_TASK]


def run_sweep() -> None:
    """Deliver the clock's message and its probe."""
    [sent_at] = sweep()
    tasks.confirm_messages(sent_at)


def test_messages_arrive_only_if_they_come_through_the_queue_of_heartbeats(owner: Tenant) -> None:
    run_sweep()
    advance_time(60)
    [sent_at] = sweep()
    assert submitted(owner).dispatch_delayed
    tasks.confirm_messages(sent_at)
    assert not submitted(owner, "k2").dispatch_delayed


def test_a_probe_that_waited_behind_a_backlog_confirms_nothing(world: object, settings: Any) -> None:
    run_sweep()
    [sent_at] = sweep()
    advance_time(60)
    tasks.confirm_messages(sent_at - settings.MESSAGE_PATH_SECONDS - 1)
    assert message_path.is_interrupted()
    assert state() == "HEALTHY"


def test_a_later_confirmation_is_not_overwritten_by_an_earlier_one() -> None:
    message_path.confirm()
    later = now() + timedelta(minutes=1)
    MessagePath.objects.update(arrived_at=later, expected_by=later + timedelta(minutes=1))
    message_path.confirm()
    assert MessagePath.objects.get().arrived_at == later


def test_three_minutes_without_messages_make_no_worker_silent(owner: Tenant) -> None:
    let_pass(BEAT)
    advance_time(180)
    assert (state(), submitted(owner).dispatch_delayed) == ("HEALTHY", True)
    message_path.confirm()
    assert not submitted(owner, "k2").dispatch_delayed
    let_pass(5, 5, 5, 5)
    assert state() == "HEALTHY"
    let_pass(STALE - BEAT - 20 + 1)
    assert state() == "STALE", "a worker has its remaining time"


@cases(("protocol", "silent"), [("celery", STALE + 1), ("rest", 0)])
def test_the_silence_of_other_workers_counts_during_an_interruption(owner: Tenant, protocol: str, silent: int) -> None:
    Worker.objects.update(protocol=protocol)
    let_pass(silent)
    advance_time(180)
    assert state() == "STALE"
    message_path.confirm()
    assert state() == "STALE"
    with pytest.raises(WorkerUnavailable):
        submitted(owner)


def seconds_left(of: Execution) -> float:
    expires_at = Execution.objects.get(pk=of.pk).lease_expires_at
    assert expires_at is not None
    return (expires_at - now()).total_seconds()


@cases("protocol", ["celery", "rest"])
def test_three_minutes_without_messages_cost_no_lease(execution: Execution, claim: Claim, protocol: str) -> None:
    """Nor that of a call: if the database is away, its outcome cannot be recorded."""
    if protocol == "rest":
        Execution.objects.update(lease_protocol="rest", lease_worker="worker-1", running_since=now())
    let_pass(BEAT)
    advance_time(180)
    sweep()
    run_sweep()
    run_sweep()
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED"]
    assert (execution.status, execution.lease_token, execution.takeovers) == ("RUNNING", claim.lease_token, 0)
    assert seconds_left(execution) == pytest.approx(LEASE - BEAT, abs=3)


def test_a_lease_that_was_renewed_during_an_interruption_gets_its_full_time_and_no_more(
    execution: Execution, claim: Claim
) -> None:
    let_pass(0)
    advance_time(170)
    held = [(execution.pk, claim.lease_token)]
    assert moves.renew_leases(execution.tenant_id, held, worker_id="w", lease_seconds=LEASE)
    let_pass(10)
    assert seconds_left(execution) == pytest.approx(LEASE, abs=3)
