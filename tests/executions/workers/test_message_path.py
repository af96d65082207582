"""While no message reaches the control workers, no worker becomes silent, and submissions report delayed work."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from executions import tasks
from executions.errors import WorkerUnavailable
from executions.models import Execution, MessagePath, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.submission.submission import Submission, submit
from executions.workers import message_path
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
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


def states() -> dict[str, str]:
    rows = WorkerEligibility.objects.select_related("worker")
    return {row.worker.worker_id: row.state for row in rows}


def submitted(owner: Tenant, key: str = "k") -> Submission:
    return submit(owner, pipeline_id=making.PIPELINE, input={"n": 1}, idempotency_key=key, actor="token:test")


def probes() -> list[float]:
    """Take the probes from the queue of heartbeats, and return their times."""
    return [sent_at for task, [sent_at] in taken(HEARTBEAT_QUEUE) if task == message_path.CONFIRM_TASK]


def run_sweep() -> None:
    """Deliver the clock's message, and the probe that it causes."""
    taken(HEARTBEAT_QUEUE)
    tasks.sweep()
    for sent_at in probes():
        tasks.confirm_messages(sent_at)


def test_messages_arrive_only_if_they_come_through_the_queue_of_heartbeats() -> None:
    owner, _ = making.ready()
    run_sweep()
    advance_time(60)
    taken(HEARTBEAT_QUEUE)
    tasks.sweep()
    assert submitted(owner).dispatch_delayed
    [sent_at] = probes()
    tasks.confirm_messages(sent_at)
    assert not submitted(owner, "k2").dispatch_delayed


def test_a_probe_that_waited_behind_a_backlog_confirms_nothing(settings: Any) -> None:
    """The heartbeats wait in the same backlog."""
    making.ready()
    run_sweep()
    taken(HEARTBEAT_QUEUE)
    tasks.sweep()
    [sent_at] = probes()
    advance_time(60)
    tasks.confirm_messages(sent_at - settings.MESSAGE_PATH_SECONDS - 1)
    assert message_path.is_interrupted()
    assert states() == {"worker-1": "HEALTHY"}


def test_while_heartbeats_are_late_the_sweep_expires_no_lease() -> None:
    made = running()
    run_sweep()
    advance_time(LEASE + 1)
    tasks.sweep()
    assert kinds(made) == ["SUBMITTED", "CLAIMED"]


def test_while_messages_arrive_a_silent_worker_is_stale() -> None:
    owner, _ = making.ready()
    message_path.confirm()
    assert not submitted(owner).dispatch_delayed
    for _ in range(4):
        advance_time((STALE + 1) / 4)
        message_path.confirm()
    assert states() == {"worker-1": "STALE"}
    with pytest.raises(WorkerUnavailable):
        submitted(owner, "k2")


def test_silence_counts_before_the_first_message() -> None:
    owner, _ = making.ready()
    assert (states(), submitted(owner).dispatch_delayed) == ({"worker-1": "HEALTHY"}, False)
    advance_time(STALE + 1)
    assert states() == {"worker-1": "STALE"}


def test_three_minutes_without_messages_make_no_worker_silent() -> None:
    owner, _ = making.ready()
    advance_time(BEAT)
    message_path.confirm()
    advance_time(180)
    assert states() == {"worker-1": "HEALTHY"}
    assert submitted(owner).dispatch_delayed


def test_a_worker_that_was_silent_before_the_interruption_stays_silent() -> None:
    owner, _ = making.ready()
    advance_time(STALE + 1)
    message_path.confirm()
    advance_time(180)
    assert states() == {"worker-1": "STALE"}
    message_path.confirm()
    assert states() == {"worker-1": "STALE"}
    with pytest.raises(WorkerUnavailable):
        submitted(owner)


def test_once_messages_arrive_again_a_worker_has_its_remaining_time() -> None:
    owner, _ = making.ready()
    advance_time(BEAT)
    message_path.confirm()
    advance_time(180)
    message_path.confirm()
    assert not submitted(owner).dispatch_delayed
    for _ in range(4):
        advance_time(5)
        message_path.confirm()
    assert states() == {"worker-1": "HEALTHY"}
    advance_time(STALE - BEAT - 20 + 1)
    message_path.confirm()
    assert states() == {"worker-1": "STALE"}


def test_a_worker_that_was_heard_later_is_credited_from_then_on() -> None:
    """Its heartbeat arrived between the last message of the clock and the interruption, or was the first after it."""
    making.ready()
    message_path.confirm()
    advance_time(2)
    making.silence(*Worker.objects.all(), since=timezone.now())
    advance_time(180)
    message_path.confirm()
    advance_time(STALE - 2)
    MessagePath.objects.update(arrived_at=timezone.now(), expected_by=timezone.now() + timedelta(seconds=15))
    assert states() == {"worker-1": "HEALTHY"}
    advance_time(4)
    MessagePath.objects.update(arrived_at=timezone.now(), expected_by=timezone.now() + timedelta(seconds=15))
    assert states() == {"worker-1": "STALE"}


def test_interruptions_that_follow_each_other_are_all_credited() -> None:
    making.ready()
    for _ in range(3):
        message_path.confirm()
        advance_time(60)
    message_path.confirm()
    assert states() == {"worker-1": "HEALTHY"}


def test_rest_workers_do_not_depend_on_messages() -> None:
    making.ready()
    Worker.objects.update(protocol="rest")
    message_path.confirm()
    advance_time(180)
    assert states() == {"worker-1": "STALE"}
    message_path.confirm()
    assert states() == {"worker-1": "STALE"}


def running() -> Execution:
    """Return an execution that a worker runs under a new lease."""
    owner, _ = making.ready()
    made = making.execution(owner)
    making.claimed(owner, lease_seconds=LEASE)
    return Execution.objects.get(pk=made.pk)


def kinds(of: Execution) -> list[str]:
    return [kind for kind, _ in making.history(of)]


def seconds_left(of: Execution) -> float:
    expires_at = Execution.objects.get(pk=of.pk).lease_expires_at
    assert expires_at is not None
    return (expires_at - timezone.now()).total_seconds()


def test_three_minutes_without_messages_cost_no_lease() -> None:
    made = running()
    advance_time(BEAT)
    message_path.confirm()
    advance_time(180)
    run_sweep()
    run_sweep()
    after = Execution.objects.get(pk=made.pk)
    assert (after.status, after.lease_token, after.takeovers) == ("RUNNING", made.lease_token, 0)
    assert kinds(made) == ["SUBMITTED", "CLAIMED"]
    assert seconds_left(made) == pytest.approx(LEASE - BEAT, abs=3)


def test_a_lease_that_expired_before_the_interruption_stays_expired() -> None:
    made = running()
    advance_time(LEASE + 1)
    message_path.confirm()
    advance_time(180)
    run_sweep()
    tasks.sweep()
    assert kinds(made) == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED"]


def test_the_holder_of_a_lease_that_died_during_an_interruption_loses_it_afterwards() -> None:
    made = running()
    message_path.confirm()
    for _ in range(3):
        advance_time(60)
        message_path.confirm()
        advance_time(12)
        message_path.confirm()
    tasks.sweep()
    assert kinds(made)[:3] == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED"]


def test_a_lease_that_was_renewed_during_an_interruption_gets_its_full_time_and_no_more() -> None:
    made = running()
    message_path.confirm()
    advance_time(170)
    assert made.lease_token is not None
    held = [(made.pk, made.lease_token)]
    assert moves.renew_leases(made.tenant_id, held, worker_id="w", lease_seconds=LEASE)
    advance_time(10)
    message_path.confirm()
    assert seconds_left(made) == pytest.approx(LEASE, abs=3)


def test_the_call_of_a_rest_worker_does_not_depend_on_messages() -> None:
    made = running()
    Execution.objects.filter(pk=made.pk).update(lease_protocol="rest", lease_worker="worker-1")
    message_path.confirm()
    advance_time(180)
    message_path.confirm()
    assert seconds_left(made) < 0
