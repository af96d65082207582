"""A resubmission continues from the checkpoint of the old execution, if the release provably can."""

from typing import Any

import pytest

from executions.awaits import interactions
from executions.errors import CheckpointIncompatible, CheckpointMissing, ResubmitKeyReused
from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.models import Execution, ExecutionEvent, Interaction, Resubmission, StartFrom
from executions.submission import resubmission
from executions.submission.resubmission import resubmit
from releases.activation.activation import activate
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.cases import cases
from tests.executions.submission.continuing import STEPS, failed, order, ready, release
from tests.raw_sql import rows
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
BY: dict[str, Any] = {"actor": "user:ann", "reason": "fixed in 1.1"}
CONTINUE: dict[str, Any] = {**BY, "start_from": StartFrom.CHECKPOINT}
A, B, C = STEPS
WIDER = order("n", optional=["m"])


@pytest.fixture
def owner() -> Tenant:
    return ready()


def everything() -> list[Any]:
    return [rows(model) for model in (Execution, ExecutionEvent, Resubmission)]


def reasons(owner: Tenant, old: Execution, **changes: Any) -> list[tuple[str, str]]:
    """Return why a resubmission is refused. Assert that it changes nothing."""
    before = everything()
    with pytest.raises(CheckpointIncompatible) as caught:
        resubmit(owner, old.pk, **{**CONTINUE, **changes})
    assert everything() == before
    return [(each["field"], each["message"]) for each in caught.value.errors]


def paths(owner: Tenant, old: Execution, **changes: Any) -> list[str]:
    return [path for path, _ in reasons(owner, old, **changes)]


def test_the_new_execution_runs_the_remaining_steps(owner: Tenant) -> None:
    old = failed(owner)
    activate(release(owner, "1.1", [*STEPS, {**C, "index": 3, "authoredName": "D"}], WIDER), actor="user:ann")
    new = resubmit(owner, old.pk, **CONTINUE)
    assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", old.input)
    assert (new.current_step_index, new.progress, new.progress_shape) == (1, {"n": 2}, "UNI")
    assert (new.attempt, new.version, new.input_digest) == (0, 0, old.input_digest)
    [claim] = making.claimed(owner)
    assert (claim.execution_id, claim.step_index, claim.input, claim.input_shape) == (new.pk, 1, '{"n": 2}', "UNI")
    assert outcome.record(new.release.identity, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])) == 1
    assert making.history(new)[-1] == ("SUCCEEDED", "SUCCEEDED")


def test_the_events_the_link_and_the_audit_log_name_the_step(owner: Tenant) -> None:
    old = failed(owner, "key", step=2)
    new = resubmit(owner, old.pk, **CONTINUE)
    assert new.events.get().data["checkpointStep"] == 2
    assert old.events.get(kind="RESUBMITTED").data["checkpointStep"] == 2
    [link] = resubmission.links(old)
    assert (link.resubmission.checkpoint_step, link.resubmission.edited) == (2, False)
    assert '"startFrom":"checkpoint"' in AuditEntry.objects.latest("id").details


def test_a_resubmission_of_the_input_starts_at_the_first_step(owner: Tenant) -> None:
    old = failed(owner)
    new = resubmit(owner, old.pk, **BY)
    assert (new.current_step_index, new.progress, new.progress_shape) == (0, None, None)
    assert Resubmission.objects.get().checkpoint_step is None
    assert "checkpointStep" not in {**new.events.get().data, **old.events.get(kind="RESUBMITTED").data}


def test_a_stream_continues_as_a_stream(owner: Tenant) -> None:
    spread = ready(steps=[{**A, "cardinality": "ONE_TO_MANY"}, B, C])
    old = failed(spread, "key", '{"n": 2}', '{"n": 3}', many=True)
    release(spread, "1.1", [{**A, "cardinality": "ONE_TO_MANY"}, B], WIDER)
    new = resubmit(spread, old.pk, **CONTINUE, release_version="1.1")
    assert (new.progress, new.progress_shape, new.result_shape) == ([{"n": 2}, {"n": 3}], "MULTI", "MATERIALIZED_MULTI")


def test_the_input_need_not_fit_a_release_whose_first_step_has_run(owner: Tenant) -> None:
    old = failed(owner)
    other = {"Other": {"definition": {"id": "Other", "kind": "record", "fields": []}}}
    release(owner, "1.1", [{**A, "inputTypeId": "Other"}, B, C], {**order("n"), **other})
    assert resubmit(owner, old.pk, **CONTINUE, release_version="1.1").current_step_index == 1


# --- refusals ---


@cases(
    ("steps", "types", "found"),
    [
        ([{**A, "authoredName": "X"}, B, C], order("n"), ['steps["A"]', 'steps["X"]']),
        ([A, {**C, "index": 1}], order("n"), ['steps["B"]']),
        ([A, {**B, "cardinality": "MANY_TO_ONE"}, C], order("n"), ['steps["B"].cardinality']),
        (STEPS, order("n", "m"), ["checkpoint.m"]),
        (STEPS, order("m"), ["checkpoint.m", "checkpoint.n"]),
        (STEPS, {}, ["checkpoint"]),
    ],
)
def test_what_is_not_proven_is_refused_and_named(
    owner: Tenant, steps: list[dict[str, Any]], types: dict[str, Any], found: list[str]
) -> None:
    old = failed(owner)
    release(owner, "1.1", steps, types)
    assert paths(owner, old, release_version="1.1") == found


def test_the_stored_value_itself_must_fit(owner: Tenant) -> None:
    old = failed(owner, "key", '{"n": "two", "x": 1}')
    release(owner, "1.1", types=WIDER)
    assert reasons(owner, old, release_version="1.1") == [
        ("checkpoint.n", "must be an integer"),
        ("checkpoint.x", "is not a member of the type"),
    ]


def test_each_item_of_a_stored_stream_must_fit() -> None:
    steps = [{**A, "cardinality": "ONE_TO_MANY"}, B, C]
    owner = ready(steps=steps)
    old = failed(owner, "key", '{"n": 2}', "{}", many=True)
    release(owner, "1.1", steps, WIDER)
    assert paths(owner, old, release_version="1.1") == ["checkpoint[1].n"]


def test_an_execution_without_a_checkpoint_has_nothing_to_continue(owner: Tenant) -> None:
    [dead] = making.dead(owner, "key")
    before = everything()
    with pytest.raises(CheckpointMissing):
        resubmit(owner, dead.pk, **CONTINUE)
    assert everything() == before


def test_an_edited_input_and_a_checkpoint_exclude_each_other(owner: Tenant) -> None:
    old = failed(owner)
    assert paths(owner, old, input={"n": 7}) == ["input"]
    assert resubmit(owner, old.pk, **CONTINUE, input={"n": 1}).current_step_index == 1


def test_on_the_same_release_a_checkpoint_is_always_compatible() -> None:
    owner = ready(types={})
    old = failed(owner, "key", '{"n": "two"}')
    assert resubmit(owner, old.pk, **CONTINUE).progress == {"n": "two"}


def test_on_the_same_contract_only_the_value_is_checked(owner: Tenant) -> None:
    release(owner, "1.1")
    good, bad = failed(owner, "good"), failed(owner, "bad", '{"n": "two"}')
    assert resubmit(owner, good.pk, **CONTINUE, release_version="1.1").release_version == "1.1"
    assert paths(owner, bad, release_version="1.1") == ["checkpoint.n"]


# --- awaits ---

AWAITING = [{**A, "kind": "await", "awaitTransport": "interaction-api"}, B, C]


def parked(owner: Tenant, *, answered: bool) -> Execution:
    """Return a cancelled execution whose checkpoint is the request of the await A, or the answer to it."""
    made = making.execution(owner, "key")
    [claim] = making.claimed(owner)
    group = OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim)])
    assert outcome.record(made.release.identity, group) == 1
    if answered:
        question = Interaction.objects.get(execution=made)
        interactions.complete(owner, interaction_id=question.pk, response={"n": 2}, actor="user:eva")
    return cancel(owner, made.pk, actor="user:ann", reason="")


@cases("answered", [True, False])
def test_the_state_of_an_await_continues_on_its_contract_only(answered: bool) -> None:
    owner = ready(steps=AWAITING)
    old = parked(owner, answered=answered)
    assert old.current_step_index == answered
    release(owner, "1.1", AWAITING, WIDER)
    release(owner, "1.2", AWAITING)
    before = everything()
    with pytest.raises(CheckpointIncompatible, match="an await"):
        resubmit(owner, old.pk, **CONTINUE, release_version="1.1")
    assert everything() == before
    new = resubmit(owner, old.pk, **CONTINUE, release_version="1.2")
    assert (new.current_step_index, new.progress) == (old.current_step_index, old.progress)
    assert Resubmission.objects.get().checkpoint_step == old.current_step_index


def test_a_checkpoint_after_an_await_continues(owner: Tenant) -> None:
    waiting = ready(steps=AWAITING)
    made = making.execution(waiting, "key")
    [claim] = making.claimed(waiting)
    assert outcome.record(made.release.identity, OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim)])) == 1
    question = Interaction.objects.get(execution=made)
    interactions.complete(waiting, interaction_id=question.pk, response={"n": 2}, actor="user:eva")
    assert failed(waiting, "key", step=2).pk == made.pk
    release(waiting, "1.1", AWAITING, WIDER)
    assert resubmit(waiting, made.pk, **CONTINUE, release_version="1.1").current_step_index == 2


# --- keys ---


def test_an_operation_key_is_not_reused_for_another_start(owner: Tenant) -> None:
    old = failed(owner)
    first = resubmit(owner, old.pk, **CONTINUE, operation_key="k")
    assert resubmit(owner, old.pk, **CONTINUE, operation_key="k") == first
    before = everything()
    with pytest.raises(ResubmitKeyReused):
        resubmit(owner, old.pk, **BY, operation_key="k")
    assert everything() == before


def test_a_new_execution_that_fails_is_resubmitted_from_its_own_checkpoint(owner: Tenant) -> None:
    first = resubmit(owner, failed(owner).pk, **CONTINUE)
    [claim] = making.claimed(owner)
    failure = OutcomeGroup(worker_id="w", outcomes=[making.failure(claim)])
    assert outcome.record(first.release.identity, failure) == 1
    second = resubmit(owner, first.pk, **CONTINUE)
    assert (second.current_step_index, second.progress) == (1, {"n": 2})
