"""Pauses of executions, releases and pipelines: what they stop, and what continues after them."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from executions.awaits import awaits, interactions, webhooks
from executions.errors import NotPaused, PauseRefused, PipelinePaused
from executions.holds import holds, queries
from executions.lifecycle import cancellation, outcome
from executions.lifecycle.redrive import redrive
from executions.models import Execution, Hold, Interaction
from executions.state_machine.moves import Claim
from executions.submission.submission import submit
from executions.workers import stranded
from releases.errors import ReasonRequired
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions import moments
from tests.executions.awaits.parking import answer, interaction_of, make_late, suspended
from tests.executions.holds.targets import TARGETS, target
from tests.raw_sql import run, unguarded
from wire.messages.celery_messages import Outcome, OutcomeGroup

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


def pause(of: holds.Target, **more: Any) -> Hold:
    return holds.pause(of, actor="user:eva", reason="broken", **more).hold


def resume(of: holds.Target) -> Hold:
    return holds.resume(of, actor="user:ida", reason="repaired")


def began(hold: Hold, ago: timedelta) -> None:
    """Let the hold have begun so long ago."""
    with unguarded(Hold):
        run("UPDATE executions_hold SET started_at = started_at - %s WHERE id = %s", ago, hold.pk)


def set_interactions(of: Execution, changes: str, *parameters: Any) -> None:
    """Change columns of an execution's interactions that no process changes."""
    with unguarded(Interaction):
        run(f"UPDATE executions_interaction SET {changes} WHERE execution_id = %s", *parameters, of.pk)


def record(owner: Tenant, claim: Claim, *outcomes: Outcome) -> None:
    release = Execution.objects.get(pk=claim.execution_id).release
    assert outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=list(outcomes))) == len(outcomes)


def near(moment: datetime | None, expected: datetime) -> bool:
    return moment is not None and abs(moment - expected) < timedelta(seconds=30)


@cases("kind", TARGETS)
def test_nothing_of_a_paused_target_is_claimed(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    pause(target(kind, made))
    assert making.claimed(ready[0]) == []
    resume(target(kind, made))
    assert [claim.execution_id for claim in making.claimed(ready[0])] == [made.pk]


@cases("kind", TARGETS)
def test_other_executions_are_claimed(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _release = ready
    made = making.execution(owner, "paused")
    pause(target(kind, made))
    if kind == "execution":
        other = making.execution(owner, "other")
        assert [claim.execution_id for claim in making.claimed(owner)] == [other.pk]
    else:
        rival, _ = making.ready(making.tenant("rival"))
        other = making.execution(rival, "other")
        assert making.claimed(owner) == []
        assert Execution.objects.get(pk=other.pk).status == "RUNNING"


def test_a_second_release_of_a_pipeline_works_while_the_first_is_paused(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    old = making.execution(owner, "old")
    newer = making.active(owner, "2.0")
    making.worker(newer, "worker-2")
    new = making.execution(owner, "new")
    pause(release)
    assert [claim.execution_id for claim in making.claimed(owner)] == [new.pk]
    pause(release.pipeline)
    resume(release)
    assert making.claimed(owner) == []
    resume(release.pipeline)
    assert [claim.execution_id for claim in making.claimed(owner)] == [old.pk]


@cases("kind", TARGETS)
def test_what_runs_finishes_and_its_next_transition_is_not_claimed(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    [claim] = making.claimed(ready[0])
    pause(target(kind, made))
    record(ready[0], claim, making.failure(claim))
    made.refresh_from_db()
    assert made.status == "WAIT_RETRY"
    run("UPDATE executions_execution SET next_due_at = now() WHERE id = %s", made.pk)
    assert making.claimed(ready[0]) == []


def test_an_execution_that_succeeds_while_paused_has_its_result(ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    [claim] = making.claimed(ready[0])
    pause(made)
    record(ready[0], claim, making.outcome_of(claim))
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", [{"n": 1}])
    assert list(queries.open_holds(ready[0])) == []
    assert queries.holds_of(made) == []
    resume(made)
    assert making.history(made)[-2:] == [("SUCCEEDED", "SUCCEEDED"), ("RESUMED", "SUCCEEDED")]


def test_the_history_of_an_execution_names_its_pauses(ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    pause(made)
    ended = resume(made)
    assert making.history(made) == [("SUBMITTED", "QUEUED"), ("PAUSED", "QUEUED"), ("RESUMED", "QUEUED")]
    events = list(made.events.order_by("sequence").values_list("actor", "data"))[1:]
    assert events == [("user:eva", {"reason": "broken"}), ("user:ida", {"reason": "repaired"})]
    assert (ended.started_by, ended.reason, ended.ended_by, ended.end_reason) == (
        *("user:eva", "broken"),
        *("user:ida", "repaired"),
    )
    assert ended.ended_at is not None
    assert ended.ended_at > ended.started_at


@cases("kind", TARGETS)
def test_a_pause_is_idempotent_and_a_resume_is_not(kind: str, ready: tuple[Tenant, Release]) -> None:
    of = target(kind, making.execution(ready[0]))
    first = holds.pause(of, actor="user:eva", reason="broken")
    again = holds.pause(of, actor="user:ida", reason="other")
    assert (first.created, again.created) == (True, False)
    assert again.hold == first.hold
    assert again.hold.reason == "broken"
    resume(of)
    with pytest.raises(NotPaused):
        resume(of)
    assert Hold.objects.count() == 1


@cases("reason", ["", " \n\t"])
def test_a_pause_needs_a_reason(reason: str, ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    for kind in TARGETS:
        with pytest.raises(ReasonRequired):
            holds.pause(target(kind, made), actor="user:eva", reason=reason)
    assert not Hold.objects.exists()


def test_a_terminal_execution_is_not_paused(ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    cancellation.cancel(ready[0], made.pk, actor="user:eva", reason="")
    with pytest.raises(PauseRefused) as caught:
        pause(made)
    assert caught.value.data == {"executionStatus": "CANCELLED"}
    assert not Hold.objects.exists()


@cases("kind", TARGETS)
def test_a_redriven_execution_stays_paused(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    made = making.execution(owner)
    run("UPDATE releases_pipeline SET retry_limit = 0")
    [claim] = making.claimed(owner)
    pause(target(kind, made))
    record(owner, claim, making.failure(claim))
    redrive(owner, made.pk, actor="user:eva", reason="")
    assert making.claimed(owner) == []
    resume(target(kind, made))
    assert [each.execution_id for each in making.claimed(owner)] == [made.pk]


def test_a_paused_execution_can_be_cancelled(ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    pause(made)
    cancellation.cancel(ready[0], made.pk, actor="user:eva", reason="")
    assert Execution.objects.get(pk=made.pk).status == "CANCELLED"
    resume(made)
    assert making.history(made)[-1] == ("RESUMED", "CANCELLED")


# --- times ---


@cases("kind", TARGETS)
def test_a_retry_waits_longer_by_the_time_of_the_pause(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    made = making.execution(owner)
    [claim] = making.claimed(owner)
    record(owner, claim, making.failure(claim))
    due = moments.now() + timedelta(minutes=10)
    run(
        "UPDATE executions_execution SET next_due_at = %s, updated_at = now() - interval '2 hours' WHERE id = %s",
        *(due, made.pk),
    )
    began(pause(target(kind, made)), HOUR)
    resume(target(kind, made))
    made.refresh_from_db()
    assert near(made.next_due_at, due + HOUR)


@cases("kind", TARGETS)
def test_a_retry_that_is_recorded_during_the_pause_waits_from_its_resume(
    kind: str, ready: tuple[Tenant, Release]
) -> None:
    owner, _ = ready
    made = making.execution(owner)
    [claim] = making.claimed(owner)
    began(pause(target(kind, made)), HOUR)
    record(owner, claim, making.failure(claim))
    failed = moments.now() - timedelta(minutes=20)
    run(
        "UPDATE executions_execution SET updated_at = %s, next_due_at = %s WHERE id = %s",
        *(failed, failed + timedelta(minutes=5), made.pk),
    )
    resume(target(kind, made))
    made.refresh_from_db()
    assert near(made.next_due_at, moments.now() + timedelta(minutes=5))


@cases("kind", TARGETS)
def test_an_execution_that_was_due_before_the_pause_is_due_after_it(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0])
    due = made.next_due_at
    began(pause(target(kind, made)), timedelta(0))
    resume(target(kind, made))
    made.refresh_from_db()
    assert made.next_due_at == due


@cases("transport", ["interaction-api", "timer", "webhook"])
@cases("kind", TARGETS)
def test_deadlines_stand_still_and_are_moved(kind: str, transport: str, ready: tuple[Tenant, Release]) -> None:
    metadata = {"url": "https://example.com/"} if transport == "webhook" else {}
    made = suspended(ready, transport=transport, transport_metadata=metadata)
    one = interaction_of(made)
    deadline = moments.now() - timedelta(minutes=10)
    set_interactions(made, "deadline = %s, created_at = now() - interval '3 hours'", deadline)
    began(pause(target(kind, made)), HOUR)
    assert awaits.expire() == 0
    assert interaction_of(made).status == one.status
    resume(target(kind, made))
    moved = interaction_of(made)
    assert near(moved.deadline, deadline + HOUR)
    assert moved.first_deadline == deadline
    assert awaits.expire() == 0


@cases("kind", TARGETS)
def test_a_deadline_that_had_passed_before_the_pause_fires_after_it(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    make_late(interaction_of(made))
    pause(target(kind, made))
    assert awaits.expire() == 0
    resume(target(kind, made))
    assert awaits.expire() == 1
    made.refresh_from_db()
    assert made.status == "FAILED"


@cases("kind", TARGETS)
def test_an_answer_is_accepted_during_the_pause_and_waits(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    set_interactions(made, "deadline = now() - interval '10 minutes', created_at = now() - interval '3 hours'")
    began(pause(target(kind, made)), HOUR)
    answer(interaction_of(made))
    made.refresh_from_db()
    assert made.status == "QUEUED"
    assert making.claimed(ready[0]) == []
    resume(target(kind, made))
    assert [claim.execution_id for claim in making.claimed(ready[0])] == [made.pk]


@cases("kind", TARGETS)
def test_a_resume_token_stays_valid_after_its_deadline_was_moved(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    set_interactions(made, "created_at = now() - interval '9 hours'")
    secret = awaits.resume_secrets()[0]

    def token() -> str:
        return awaits.resume_token_of(interaction_of(made), issued_at=moments.now()).sign(secret)

    tokens = [token()]
    for _ in range(2):
        began(pause(target(kind, made)), HOUR)
        resume(target(kind, made))
        tokens.append(token())
    assert len(set(tokens)) == 3
    for each in tokens:
        completion = interactions.resume(each, response={"ok": True}, actor="user:eva")
        assert completion.interaction.status == "COMPLETED"


@cases("kind", TARGETS)
def test_no_webhook_is_sent_during_the_pause(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, transport="webhook", transport_metadata={"url": "https://example.com/"})
    assert webhooks.due_exists()
    pause(target(kind, made))
    assert not webhooks.due_exists()
    assert not webhooks.send()
    resume(target(kind, made))
    assert webhooks.due_exists()


@cases("kind", TARGETS)
def test_the_next_attempt_of_a_webhook_is_moved(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, transport="webhook", transport_metadata={"url": "https://example.com/"})
    ages = "created_at = now() - interval '3 hours', updated_at = now() - interval '2 hours'"
    set_interactions(made, f"next_dispatch_at = now() + interval '5 minutes', {ages}")
    began(pause(target(kind, made)), HOUR)
    resume(target(kind, made))
    assert near(interaction_of(made).next_dispatch_at, moments.now() + timedelta(minutes=5) + HOUR)


@cases("order", [("execution", "pipeline"), ("pipeline", "execution")])
def test_the_time_of_overlapping_pauses_counts_once(order: tuple[str, str], ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    deadline = interaction_of(made).deadline
    set_interactions(made, "created_at = now() - interval '9 hours'")
    first, second = (target(kind, made) for kind in order)
    began(pause(first), 3 * HOUR)
    began(pause(second), 2 * HOUR)
    resume(first)
    assert near(interaction_of(made).deadline, deadline + HOUR)
    assert making.claimed(ready[0]) == []
    resume(second)
    assert near(interaction_of(made).deadline, deadline + 3 * HOUR)


@cases("order", [("execution", "pipeline"), ("release", "execution"), ("pipeline", "release")])
def test_the_time_of_nested_pauses_counts_once(order: tuple[str, str], ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    deadline = interaction_of(made).deadline
    set_interactions(made, "created_at = now() - interval '9 hours'")
    outer, inner = (target(kind, made) for kind in order)
    began(pause(outer), 3 * HOUR)
    began(pause(inner), HOUR)
    resume(inner)
    assert interaction_of(made).deadline == deadline
    resume(outer)
    assert near(interaction_of(made).deadline, deadline + 3 * HOUR)


# --- submissions ---


@cases("kind", ["release", "pipeline"])
def test_submissions_are_accepted_and_wait(kind: str, ready: tuple[Tenant, Release]) -> None:
    made = making.execution(ready[0], "before")
    pause(target(kind, made))
    during = making.execution(ready[0], "during")
    assert making.claimed(ready[0]) == []
    resume(target(kind, made))
    assert {claim.execution_id for claim in making.claimed(ready[0])} == {made.pk, during.pk}


@cases("kind", ["release", "pipeline"])
def test_a_pause_may_refuse_submissions(kind: str, ready: tuple[Tenant, Release]) -> None:
    owner, _release = ready
    made = making.execution(owner, "before")
    hold = pause(target(kind, made), refuses_submissions=True)
    with pytest.raises(PipelinePaused) as caught:
        making.execution(owner, "during")
    assert caught.value.data == {"since": hold.started_at.isoformat(), "reason": "broken"}
    repeated = submit(owner, pipeline_id=making.PIPELINE, input=made.input, idempotency_key="before", actor="user:x")
    assert repeated.duplicate
    resume(target(kind, made))
    assert making.execution(owner, "after").status == "QUEUED"


def test_a_paused_release_refuses_nothing_once_another_is_active(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    pause(release, refuses_submissions=True)
    making.worker(making.active(owner, "2.0"), "worker-2")
    assert making.execution(owner).release_version == "2.0"


# --- what is shown ---


def test_paused_work_is_not_stranded(ready: tuple[Tenant, Release]) -> None:
    owner, _release = ready
    made = making.execution(owner)
    run("DELETE FROM executions_worker")
    assert len(stranded.stranded([owner.pk])) == 1
    for kind in TARGETS:
        pause(target(kind, made))
        assert stranded.stranded([owner.pk]) == []
        resume(target(kind, made))


def test_the_open_holds_of_a_tenant_are_listed_newest_first(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    made = making.execution(owner)
    found = [pause(target(kind, made)) for kind in TARGETS]
    _, rivals = making.ready(making.tenant("rival"))
    pause(rivals)
    assert list(queries.open_holds(owner)) == found[::-1]
    assert queries.holds_of(made) == found
    resume(release)
    assert list(queries.open_holds(owner)) == [found[2], found[0]]
