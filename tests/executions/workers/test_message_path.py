"""While no message reaches the control workers, no worker becomes silent, and submissions report delayed work."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from executions import tasks
from executions.errors import WorkerUnavailable
from executions.lifecycle import outcome
from executions.models import Execution, MessagePath, OutcomePath, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.workers import message_path
from executions.workers.tenant_keys import active_keys
from governance import tasks as governance_tasks
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.executions.moments import clock, now, seconds_left
from tests.raw_sql import raised, unchanged
from wire.broker import sending
from wire.messages.celery_messages import OutcomeGroup
from wire.messages.queues import HEARTBEAT_QUEUE, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.sealing import decode, seal, verify

STALE, BEAT, LEASE = 30, 9, 30


@pytest.fixture(autouse=True)
def no_cache_and_no_outcomes(settings: Any) -> None:
    taken(OUTCOME_QUEUE)
    settings.SUBMISSION_CACHE_SECONDS = 0
    settings.MESSAGE_PATH_SECONDS = 15
    settings.LEASE_SECONDS = LEASE


def advance_time(seconds: float) -> None:
    """Simulate the passage of `seconds`: move all stored times back."""
    ago = timedelta(seconds=seconds)
    MessagePath.objects.update(arrived_at=F("arrived_at") - ago, expected_by=F("expected_by") - ago)
    moments = ("began_at", "unread_since", "expected_by")
    OutcomePath.objects.update(**{moment: F(moment) - ago for moment in moments})
    Worker.objects.update(last_heartbeat_at=F("last_heartbeat_at") - ago, alive_until=F("alive_until") - ago)
    Execution.objects.filter(status="RUNNING").update(lease_expires_at=F("lease_expires_at") - ago)


def let_pass(*steps: float) -> None:
    for seconds in steps:
        advance_time(seconds)
        message_path.confirm()


def state() -> str:
    return WorkerEligibility.objects.get().state


def sweep() -> list[float]:
    """Deliver the clock's message. Return the time of the probe that it sends through the queue of heartbeats."""
    taken(HEARTBEAT_QUEUE)
    governance_tasks.sweep()
    return [sent_at for task, [sent_at] in taken(HEARTBEAT_QUEUE) if task == message_path.CONFIRM_TASK]


def run_sweep() -> None:
    [sent_at] = sweep()
    tasks.confirm_messages(sent_at)


def test_messages_arrive_only_if_they_come_through_the_queue_of_heartbeats(owner: Tenant) -> None:
    run_sweep()
    advance_time(60)
    [sent_at] = sweep()
    assert making.submitted(owner, "k").dispatch_delayed
    tasks.confirm_messages(sent_at)
    assert not making.submitted(owner, "k2").dispatch_delayed


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
    assert (state(), making.submitted(owner, "k").dispatch_delayed) == ("HEALTHY", True)
    message_path.confirm()
    assert not making.submitted(owner, "k2").dispatch_delayed
    let_pass(5, 5, 5, 5)
    assert state() == "HEALTHY"
    let_pass(STALE - BEAT - 20, 10)
    assert state() == "STALE", "a worker has its remaining time"


@cases(("protocol", "silent"), [("celery", STALE + 10), ("rest", 0)])
def test_the_silence_of_other_workers_counts_during_an_interruption(owner: Tenant, protocol: str, silent: int) -> None:
    Worker.objects.update(protocol=protocol)
    let_pass(silent)
    advance_time(180)
    assert state() == "STALE"
    message_path.confirm()
    assert state() == "STALE"
    raised(WorkerUnavailable, making.submitted, owner, "k")


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


def test_a_lease_renewed_during_an_interruption_gets_its_full_time_only(execution: Execution, claim: Claim) -> None:
    let_pass(0)
    advance_time(170)
    held = [(execution.pk, claim.lease_token)]
    assert moves.renew_leases(execution.tenant_id, held, worker_id="w", lease_seconds=LEASE)
    let_pass(10)
    assert seconds_left(execution) == pytest.approx(LEASE, abs=3)


def sweep_outcomes() -> Any:
    """Deliver the clock's message while an outcome waits. Heartbeats arrive. Return the probe behind the outcome."""
    taken(OUTCOME_QUEUE)
    sending.send(RECORD_TASK, {}, queue=OUTCOME_QUEUE)
    run_sweep()
    [_, (task, [probe])] = taken(OUTCOME_QUEUE)
    assert task == RECORD_TASK
    return probe


def sent_at(probe: Any) -> float:
    return float(probe["releaseVersion"])


def about(seconds: float) -> Any:
    """Match a time since a probe. The probe has the time of its sweep, and the rows the time when the test began."""
    between = (clock() - now()).total_seconds()
    return pytest.approx(seconds - between / 2, abs=between / 2 + 1)


def test_late_outcomes_stop_expiry_and_claims(owner: Tenant, execution: Execution, claim: Claim) -> None:
    making.lasting(owner)
    let_pass(BEAT)
    probe = sweep_outcomes()
    let_pass(*[10] * 9)
    assert making.submitted(owner, "due").dispatch_delayed
    sweep_outcomes()
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED"]
    for seconds in (80, 60):
        message_path.confirm_outcomes(sent_at(probe) - seconds)
        assert message_path.outcome_delay() == about(seconds), "the next outcomes are as late"
    assert making.claimed(owner) == []
    Worker.objects.update(protocol="rest")
    assert len(making.claimed(owner)) == 1, "outcomes of calls do not pass through the queue"
    tasks.record(probe)
    assert message_path.outcome_delay() == 0
    assert seconds_left(execution) == about(LEASE - BEAT)


def test_an_empty_queue_shows_that_outcomes_are_read(owner: Tenant, execution: Execution) -> None:
    sweep_outcomes()
    advance_time(60)
    assert making.claimed(owner) == []
    run_sweep()
    assert message_path.outcome_delay() == 0
    assert making.kinds(execution) == ["SUBMITTED", "CLAIMED"]


def test_outcomes_are_late_only_while_a_probe_is_unread_also_if_an_earlier_one_is_delivered_again() -> None:
    earlier = sweep_outcomes()
    tasks.record(earlier)
    advance_time(600)
    assert message_path.outcome_delay() == 0, "the clock may have stopped"
    sweep_outcomes()
    advance_time(60)
    message_path.confirm_outcomes(sent_at(earlier) - 61)
    assert message_path.outcome_delay() == about(60)


def test_a_worker_cannot_send_a_probe_and_the_previous_version_records_none(owner: Tenant) -> None:
    probe = sweep_outcomes()
    advance_time(60)
    body = decode(verify(probe, active_keys), OutcomeGroup)
    tasks.record(seal(verify(probe, active_keys).identity, body, *active_keys(owner.slug)))
    assert message_path.outcome_delay() > 0
    with unchanged():
        assert outcome.record(verify(probe, active_keys).identity, body) == 0
