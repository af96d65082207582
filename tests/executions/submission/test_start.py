"""When executions start: not before a time, not after a time, and before or after others."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from executions.holds import holds
from executions.lifecycle import starts
from executions.lifecycle.interventions import redrive
from executions.models import Execution, Hold, Worker
from executions.submission.requests import Start
from foundation.errors import InvalidRequest
from governance.resubmission.resubmission import resubmit
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.limited import claimed_keys as claimed
from tests.executions.moments import now
from tests.making import LONG_AGO
from tests.raw_sql import raised, unguarded

HOUR = timedelta(hours=1)
HIGH, LOW = Start(priority=1), Start(priority=-1)


def submitted(owner: Tenant, key: str, start: Start | None = None) -> Execution:
    return making.submitted(owner, key, start=start).execution


def at(*rows: Execution, **columns: datetime) -> None:
    """Change times of executions, as if time had passed."""
    with unguarded(Execution):
        Execution.objects.filter(pk__in=[row.pk for row in rows]).update(**columns)


def test_an_execution_is_due_at_its_time_and_says_so(owner: Tenant) -> None:
    later = now() + HOUR
    execution = submitted(owner, "later", Start(later, later + HOUR, 1))
    assert (execution.next_due_at, execution.not_before, execution.expires_at) == (later, later, later + HOUR)
    event = execution.events.get().data
    times = [datetime.fromisoformat(event[name]) for name in ("notBefore", "expiresAt")]
    assert (times, event["priority"]) == ([later, later + HOUR], "high")
    assert claimed(owner) == []
    Execution.objects.update(next_due_at=now())
    assert claimed(owner) == ["later"]
    assert submitted(owner, "past", Start(now() - HOUR)).next_due_at == now()


def test_a_pause_moves_no_time_that_a_submission_named(owner: Tenant, release: Release) -> None:
    later = now() + HOUR
    execution = submitted(owner, "later", Start(later))
    at(execution, updated_at=LONG_AGO)
    hold = holds.pause(release.pipeline, actor="user:test", reason="r").hold
    with unguarded(Hold):
        Hold.objects.filter(pk=hold.pk).update(started_at=now() - HOUR)
    holds.resume(release.pipeline, actor="user:test", reason="r")
    assert making.reread(execution).next_due_at == later


@cases(
    ("start", "field"),
    (lambda now: Start(not_before=now + timedelta(days=366)), "notBefore"),
    (lambda now: Start(expires_at=now - HOUR), "expiresAt"),
    (lambda now: Start(not_before=now + HOUR, expires_at=now + HOUR), "expiresAt"),
)
def test_an_impossible_start_is_refused_unless_the_key_was_used(owner: Tenant, start: Any, field: str) -> None:
    refused = raised(InvalidRequest, submitted, owner, "key", start(timezone.now()))
    assert [error["field"] for error in refused.errors] == [field]
    assert not Execution.objects.exists()
    first = submitted(owner, "key")
    assert submitted(owner, "key", start(timezone.now())).pk == first.pk


def test_what_did_not_start_in_time_is_cancelled_and_nothing_else(owner: Tenant) -> None:
    start = Start(expires_at=now() + HOUR, priority=1)
    started = submitted(owner, "started", start)
    assert claimed(owner) == ["started"]
    expired, kept = submitted(owner, "expired", start), submitted(owner, "kept", start)
    at(expired, started, expires_at=LONG_AGO)
    assert claimed(owner, 1) == ["kept"], "a claim takes nothing that has expired before the sweep saw it"
    assert (starts.sweep(), starts.sweep()) == (1, 0)
    assert [making.reread(row).status for row in (expired, started, kept)] == ["CANCELLED", "RUNNING", "RUNNING"]
    assert (expired.error_code, making.history(expired)[-1]) == ("EXPIRED", ("EXPIRED", "CANCELLED"))
    assert not expired.dead_letters.exists()
    again = resubmit(owner, expired.pk, actor="user:test", reason="again")
    assert (again.expires_at, again.priority) == (None, 1), "a resubmission starts when it can"


def test_high_priority_starts_first_but_never_before_what_has_been_due_for_an_hour(owner: Tenant) -> None:
    old, young = submitted(owner, "old"), submitted(owner, "young")
    at(young, next_due_at=now() - HOUR / 2)
    at(old, next_due_at=now() - HOUR / 2 - timedelta(seconds=1))
    submitted(owner, "high", HIGH)
    assert sorted(claimed(owner, 2)) == ["high", "old"]
    at(young, next_due_at=now() - 2 * HOUR)
    first, second = submitted(owner, "high-2", HIGH), submitted(owner, "high-3", HIGH)
    assert first.next_due_at == second.next_due_at == now() - HOUR
    assert claimed(owner, 1) == ["young"]
    claimed(owner)
    assert submitted(owner, "alone", HIGH).next_due_at == now()


def test_low_priority_starts_when_there_is_room_and_in_an_hour_at_the_latest(owner: Tenant) -> None:
    Worker.objects.filter(tenant=owner).update(capacity=2)
    rows = [submitted(owner, f"low-{number}", LOW) for number in range(4)]
    assert {row.next_due_at for row in rows} == {now() + HOUR}
    at(*rows, next_due_at=now() + HOUR)
    normal = submitted(owner, "normal")
    assert (starts.promote(), starts.promote()) == (1, 0), "the normal one takes the other place"
    assert sorted(claimed(owner))[1:] == ["normal"]
    assert starts.promote() == 2
    held = submitted(owner, "timed", Start(now() + HOUR / 2, priority=-1))
    making.worker(Release.objects.get(pk=normal.release_id), "more", capacity=50)
    assert starts.promote() == 1
    assert making.reread(held).next_due_at == now() + HOUR / 2


@cases(("start", "shift"), [(HIGH, timedelta()), (LOW, HOUR), (None, timedelta())])
def test_a_priority_counts_again_after_a_redrive(owner: Tenant, start: Start | None, shift: timedelta) -> None:
    execution = submitted(owner, "key", start)
    at(execution, next_due_at=LONG_AGO)
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, retryable=False))
    redrive(owner, execution.pk, actor="user:test", reason="again", allow_failed=True)
    assert (making.reread(execution).status, execution.next_due_at) == ("QUEUED", now() + shift)
