from typing import Any

import pytest

from executions.awaits import questions
from executions.errors import CheckpointIncompatible, CheckpointMissing
from executions.lifecycle.interventions import cancel
from executions.models import Execution, Interaction, Resubmission, StartFrom
from governance.activation.activation import activate
from governance.resubmission.resubmission import resubmit
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.submission.continuing import STEPS, failed, order, ready, release
from tests.raw_sql import raised, unchanged

BY: dict[str, Any] = {"actor": "user:ann", "reason": "fixed in 1.1"}
CONTINUE: dict[str, Any] = {**BY, "start_from": StartFrom.CHECKPOINT}
ON: dict[str, Any] = {**CONTINUE, "release_version": "1.1"}
A, B, C = STEPS
SPREAD = [{**A, "cardinality": "ONE_TO_MANY"}, B, C]
WIDER = order("n", optional=["m"])


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    owner = ready()
    return owner, Release.objects.get(pipeline__tenant=owner)


def reasons(owner: Tenant, old: Execution) -> dict[str, str]:
    caught = raised(CheckpointIncompatible, resubmit, owner, old.pk, **ON)
    return {error["field"]: error["message"] for error in caught.errors}


def test_the_new_execution_runs_the_remaining_steps(owner: Tenant) -> None:
    old = failed(owner)
    activate(release(owner, "1.1", [*STEPS, {**C, "index": 3, "authoredName": "D"}], WIDER), actor="user:ann")
    new = resubmit(owner, old.pk, **CONTINUE)
    assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", old.input)
    assert (new.current_step_index, new.progress, new.progress_shape) == (1, {"n": 2}, "UNI")
    assert (new.attempt, new.version, new.input_digest) == (0, 0, old.input_digest)
    assert new.events.get().data["checkpointStep"] == Resubmission.objects.get().checkpoint_step == 1
    [claim] = making.claimed(owner)
    assert (claim.execution_id, claim.step_index, claim.input, claim.input_shape) == (new.pk, 1, '{"n": 2}', "UNI")
    making.record(making.failure(claim))
    again = resubmit(owner, new.pk, **CONTINUE)
    assert (again.current_step_index, again.progress) == (1, {"n": 2})


def test_a_resubmission_of_the_input_starts_at_the_first_step(owner: Tenant) -> None:
    [dead] = making.dead(owner, "without a checkpoint")
    raised(CheckpointMissing, resubmit, owner, dead.pk, **CONTINUE)
    old = failed(owner)
    new = resubmit(owner, old.pk, **BY)
    assert (new.current_step_index, new.progress, new.progress_shape) == (0, None, None)
    assert Resubmission.objects.get().checkpoint_step is None
    assert "checkpointStep" not in {**new.events.get().data, **old.events.get(kind="RESUBMITTED").data}


def test_a_stream_continues_as_a_stream_if_each_of_its_items_fits() -> None:
    owner = ready(steps=SPREAD)
    good = failed(owner, "good", '{"n": 2}', '{"n": 3}', many=True)
    bad = failed(owner, "bad", '{"n": 2}', "{}", many=True)
    making.replaced(release(owner, "1.1", SPREAD[:2], WIDER))
    new = resubmit(owner, good.pk, **ON)
    assert (new.progress, new.progress_shape, new.result_shape) == ([{"n": 2}, {"n": 3}], "MULTI", "MATERIALIZED_MULTI")
    assert [*reasons(owner, bad)] == ["checkpoint[1].n"]


@cases(
    ("steps", "types", "named"),
    ([{**A, "authoredName": "X"}, B, C], order("n"), ['steps["A"]', 'steps["X"]']),
    ([A, {**C, "index": 1}], order("n"), ['steps["B"]']),
    ([A, {**B, "cardinality": "MANY_TO_ONE"}, C], order("n"), ['steps["B"].cardinality']),
    (STEPS, order("n", "m"), ["checkpoint.m"]),
    (STEPS, {}, ["checkpoint"]),
)
def test_what_is_not_proven_is_refused_and_named(owner: Tenant, steps: list[Any], types: Any, named: list[str]) -> None:
    old = failed(owner)
    making.replaced(release(owner, "1.1", steps, types))
    assert [*reasons(owner, old)] == named


@cases("types", [WIDER, order("n")])
def test_the_stored_value_itself_must_fit_another_release(owner: Tenant, types: dict[str, Any]) -> None:
    good, bad = failed(owner, "good"), failed(owner, "bad", '{"n": "two", "x": 1}')
    making.replaced(release(owner, "1.1", types=types))
    wrong = {"checkpoint.n": "must be an integer", "checkpoint.x": "is not a member of the type"}
    assert reasons(owner, bad) == wrong
    assert resubmit(owner, good.pk, **ON).release_version == "1.1"
    assert resubmit(owner, bad.pk, **CONTINUE).progress == {"n": "two", "x": 1}


AWAITING = [{**A, "kind": "await", "awaitTransport": "interaction-api"}, B, C]


@cases(("answered", "step"), [(False, 0), (True, 1), (True, 2)])
def test_the_state_of_an_await_continues_on_its_contract_only(answered: bool, step: int) -> None:
    owner = ready(steps=AWAITING)
    old = making.execution(owner, "key")
    [claim] = making.claimed(owner)
    assert making.record(making.suspension(claim)) == 1
    if answered:
        question = Interaction.objects.get(execution=old)
        questions.answer(owner, question_id=question.pk, response={"n": 2}, actor="user:eva")
    if step == 2:
        assert failed(owner, "key", step=2).pk == old.pk
    else:
        cancel(owner, old.pk, actor="user:ann", reason="")
    old.refresh_from_db()
    making.replaced(release(owner, "1.1", AWAITING, WIDER))
    making.replaced(release(owner, "1.2", AWAITING))
    if step == 2:
        assert resubmit(owner, old.pk, **ON).current_step_index == 2
    else:
        with unchanged(), pytest.raises(CheckpointIncompatible, match="Questions and their answers"):
            resubmit(owner, old.pk, **ON)
    new = resubmit(owner, old.pk, **CONTINUE, release_version="1.2", allow_replaced=True)
    assert (new.current_step_index, new.progress) == (step, old.progress)
    assert Resubmission.objects.get(pk=new.pk).checkpoint_step == step
