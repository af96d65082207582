from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from executions.awaits import awaits, questions, webhooks
from executions.errors import NotPaused, PauseRefused, PipelinePaused
from executions.holds import holds
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Execution, Hold, Interaction
from executions.state_machine.moves import Claim
from executions.workers.eligibility import stranded
from releases.errors import ReasonRequired
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions import moments
from tests.executions.awaits.parking import interaction_of, make_late, suspended
from tests.executions.awaits.test_answers import token_of
from tests.raw_sql import raised, run, unguarded

TARGETS = ("execution", "release", "pipeline")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WEBHOOK: dict[str, Any] = {"transport": "webhook", "transport_metadata": {"url": "https://example.com/"}}
Suspended = Callable[..., Execution]


def target(kind: str, execution: Execution) -> holds.Target:
    release = execution.release
    targets: dict[str, holds.Target] = {"execution": execution, "release": release, "pipeline": release.pipeline}
    return targets[kind]


@pytest.fixture
def parked(owner: Tenant, release: Release) -> Suspended:
    return lambda **members: suspended((owner, release), **members)


def pause(target: holds.Target, **more: Any) -> Hold:
    return holds.pause(target, actor="user:eva", reason="broken", **more).hold


def resume(target: holds.Target) -> Hold:
    return holds.resume(target, actor="user:ida", reason="repaired")


def began(hold: Hold, ago: timedelta) -> None:
    with unguarded(Hold):
        run("UPDATE executions_hold SET started_at = started_at - %s WHERE id = %s", ago, hold.pk)


def paused_for(target: holds.Target, time: timedelta) -> None:
    began(pause(target), time)
    resume(target)


def set_interactions(changes: str, *parameters: Any) -> None:
    with unguarded(Interaction):
        run(f"UPDATE executions_interaction SET {changes}", *parameters)


def old_interactions() -> None:
    set_interactions("created_at = now() - interval '9 hours'")


def claimed(owner: Tenant) -> list[Any]:
    return [claim.execution_id for claim in making.claimed(owner)]


def near(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs(moment - expected) < timedelta(seconds=30)


def due_at(made: Execution) -> datetime:
    return Execution.objects.get(pk=made.pk).next_due_at


@cases("kind", TARGETS)
def test_nothing_of_a_paused_target_is_claimed(owner: Tenant, kind: str) -> None:
    made = making.execution(owner)
    pause(target(kind, made))
    rival, _ = making.ready()
    other = making.execution(owner if kind == "execution" else rival, "other")
    making.claimed(owner)
    assert dict(Execution.objects.values_list("pk", "status")) == {made.pk: "QUEUED", other.pk: "RUNNING"}
    resume(target(kind, made))
    assert due_at(made) == made.next_due_at
    assert claimed(owner) == [made.pk]


def test_a_second_release_of_a_pipeline_works_while_the_first_is_paused(owner: Tenant, release: Release) -> None:
    old = making.execution(owner, "old")
    making.worker(making.active(owner, "2.0"), "worker-2")
    new = making.execution(owner, "new")
    pause(release)
    assert claimed(owner) == [new.pk]
    pause(release.pipeline)
    resume(release)
    assert claimed(owner) == []
    resume(release.pipeline)
    assert claimed(owner) == [old.pk]


@cases("kind", TARGETS)
def test_what_runs_finishes_and_nothing_follows(owner: Tenant, execution: Execution, claim: Claim, kind: str) -> None:
    pause(target(kind, execution))
    making.record(making.failure(claim))
    assert making.history(execution)[-1] == ("RETRY_SCHEDULED", "WAIT_RETRY")
    run("UPDATE executions_execution SET next_due_at = now()")
    assert claimed(owner) == []
    resume(target(kind, execution))
    [again] = making.claimed(owner)
    pause(target(kind, execution))
    making.record(making.failure(again, retryable=False))
    redrive(owner, execution.pk, actor="user:eva", reason="", allow_failed=True)
    assert claimed(owner) == []
    resume(target(kind, execution))
    assert claimed(owner) == [execution.pk]


def test_the_history_of_an_execution_names_its_pauses(owner: Tenant, execution: Execution) -> None:
    pause(execution)
    ended = resume(execution)
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("PAUSED", "QUEUED"), ("RESUMED", "QUEUED")]
    events = list(execution.events.order_by("sequence").values_list("actor", "data"))[1:]
    assert events == [("user:eva", {"reason": "broken"}), ("user:ida", {"reason": "repaired"})]
    assert (ended.started_by, ended.reason) == ("user:eva", "broken")
    assert (ended.ended_by, ended.end_reason) == ("user:ida", "repaired")
    pause(execution)
    cancel(owner, execution.pk, actor="user:eva", reason="")
    resume(execution)
    assert making.history(execution)[-1] == ("RESUMED", "CANCELLED"), "a paused execution can be cancelled"
    assert raised(PauseRefused, pause, execution).data == {"executionStatus": "CANCELLED"}


@cases("kind", TARGETS)
def test_a_pause_needs_a_reason_and_is_idempotent_and_a_resume_is_not(execution: Execution, kind: str) -> None:
    paused = target(kind, execution)
    for reason in ("", " \n\t"):
        raised(ReasonRequired, holds.pause, paused, actor="user:eva", reason=reason)
    first = holds.pause(paused, actor="user:eva", reason="broken")
    again = holds.pause(paused, actor="user:ida", reason="other")
    assert (first.created, again.created) == (True, False)
    assert (again.hold, again.hold.reason) == (first.hold, "broken")
    counts = None if kind == "execution" else {"QUEUED": 1, "RUNNING": 0, "WAIT_RETRY": 0, "WAITING_EXTERNAL": 0}
    assert first.covered == again.covered == counts
    resume(paused)
    raised(NotPaused, resume, paused)


def test_the_open_holds_of_a_tenant_are_listed_newest_first(owner: Tenant, release: Release) -> None:
    execution = making.execution(owner)
    run("UPDATE executions_worker SET stopped_at = now()")
    assert len(stranded([owner.pk])) == 1
    for kind in TARGETS:
        pause(target(kind, execution))
        assert stranded([owner.pk]) == []
        resume(target(kind, execution))
    pauses = [pause(target(kind, execution)) for kind in TARGETS]
    pause(making.ready()[1])
    assert list(holds.open_holds(owner)) == pauses[::-1]
    assert holds.holds_of(execution) == pauses
    resume(release)
    assert list(holds.open_holds(owner)) == [pauses[2], pauses[0]]


@cases("kind", TARGETS)
def test_a_retry_waits_longer_by_the_time_of_the_pause(execution: Execution, claim: Claim, kind: str) -> None:
    making.record(making.failure(claim))
    due = moments.now() + 10 * MINUTE
    run("UPDATE executions_execution SET next_due_at = %s, updated_at = now() - interval '2 hours'", due)
    paused_for(target(kind, execution), HOUR)
    assert near(due_at(execution), due + HOUR)


@cases("kind", TARGETS)
def test_a_retry_recorded_during_the_pause_waits_from_its_resume(execution: Execution, claim: Claim, kind: str) -> None:
    began(pause(target(kind, execution)), HOUR)
    making.record(making.failure(claim))
    failed = moments.now() - 20 * MINUTE
    run("UPDATE executions_execution SET updated_at = %s, next_due_at = %s", failed, failed + 5 * MINUTE)
    resume(target(kind, execution))
    assert near(due_at(execution), moments.now() + 5 * MINUTE)


@cases(("kind", "transport"), zip(TARGETS, ("interaction-api", "timer", "webhook"), strict=True))
def test_deadlines_stand_still_and_are_moved(parked: Suspended, kind: str, transport: str) -> None:
    made = parked(transport=transport, transport_metadata=WEBHOOK["transport_metadata"])
    question = interaction_of(made)
    deadline = moments.now() - 10 * MINUTE
    old_interactions()
    set_interactions("deadline = %s", deadline)
    began(pause(target(kind, made)), HOUR)
    assert awaits.expire() == 0
    assert interaction_of(made).status == question.status
    resume(target(kind, made))
    moved = interaction_of(made)
    assert near(moved.deadline, deadline + HOUR)
    assert moved.first_deadline == deadline
    assert awaits.expire() == 0


@cases("kind", TARGETS)
def test_a_deadline_that_had_passed_before_the_pause_fires_after_it(parked: Suspended, kind: str) -> None:
    made = parked()
    make_late(interaction_of(made))
    pause(target(kind, made))
    assert awaits.expire() == 0
    resume(target(kind, made))
    assert awaits.expire() == 1
    assert making.reread(made).status == "FAILED"


@cases("kind", TARGETS)
def test_a_resume_token_stays_valid_after_its_deadline_was_moved(parked: Suspended, kind: str) -> None:
    made = parked()
    old_interactions()
    first = token_of(interaction_of(made))
    paused_for(target(kind, made), HOUR)
    second = token_of(interaction_of(made))
    assert first != second
    answers = [questions.resume(token, response={"ok": True}, actor="user:eva") for token in (first, second)]
    assert [(answer.question.status, answer.duplicate) for answer in answers] == [("COMPLETED", n > 0) for n in (0, 1)]


@cases("kind", TARGETS)
def test_no_webhook_is_sent_during_the_pause_and_its_next_attempt_is_moved(parked: Suspended, kind: str) -> None:
    made = parked(**WEBHOOK)
    assert webhooks.OUTBOX.is_due()
    pause(target(kind, made))
    assert (webhooks.OUTBOX.is_due(), webhooks.OUTBOX.send()) == (False, False)
    resume(target(kind, made))
    assert webhooks.OUTBOX.is_due()
    old_interactions()
    set_interactions("updated_at = now() - interval '2 hours', next_dispatch_at = now() + interval '5 minutes'")
    paused_for(target(kind, made), HOUR)
    assert near(interaction_of(made).next_dispatch_at, moments.now() + 5 * MINUTE + HOUR)


@cases("order", [("execution", "pipeline"), ("release", "execution"), ("pipeline", "release")])
def test_the_time_of_nested_and_overlapping_pauses_counts_once(parked: Suspended, order: tuple[str, str]) -> None:
    made = parked()
    deadline = interaction_of(made).deadline
    old_interactions()
    first, second = (target(kind, made) for kind in order)
    began(pause(first), 3 * HOUR)
    paused_for(second, HOUR)
    assert interaction_of(made).deadline == deadline
    began(pause(second), 2 * HOUR)
    resume(first)
    assert near(interaction_of(made).deadline, deadline + HOUR)
    resume(second)
    assert near(interaction_of(made).deadline, deadline + 3 * HOUR)


@cases("kind", ["release", "pipeline"])
def test_submissions_wait_or_are_refused(owner: Tenant, kind: str) -> None:
    made = making.execution(owner, "before")
    pause(target(kind, made))
    during = making.execution(owner, "during")
    assert claimed(owner) == []
    resume(target(kind, made))
    assert set(claimed(owner)) == {made.pk, during.pk}
    hold = pause(target(kind, made), refuses_submissions=True)
    caught = raised(PipelinePaused, making.execution, owner, "refused")
    assert caught.data == {"since": hold.started_at.isoformat(), "reason": "broken"}
    repeated = making.submitted(owner, "before", made.input, actor="user:x")
    assert repeated.duplicate
    resume(target(kind, made))
    assert making.execution(owner, "after").status == "QUEUED"
