"""Items that are finished or failed while their step runs: what is stored, and what runs again."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from executions.errors import (
    CheckpointIncompatible,
    ExecutionReplaced,
    FailedItemsMissing,
    ResubmitKeyReused,
    ResubmitRefused,
)
from executions.lifecycle import interventions, item_groups
from executions.lifecycle.item_groups import ItemProgress
from executions.models import Execution, FailedItems, ItemGroup
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from governance.activation.activation import activate
from governance.resubmission.resubmission import resubmit
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.making import items, outcome_of, reached, record
from tests.raw_sql import raised
from wire.messages import step_reports as wire

pytestmark = pytest.mark.usefixtures("retries")

DECLARED = {"parallel": 4, "onItemFailure": "collect"}


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    owner, document = making.tenant(), making.contract(steps=making.steps("Read", "Book", "Pay"))
    release = making.declaring(owner, document=document, checkpoints=True, steps={"Book": DECLARED})
    activate(release, actor="user:test")
    return owner, release


def finished(claim: Claim) -> dict[int, Any]:
    """Return the finished items in the command of a claim."""
    return command_of(claim).results_of_items()


def again(owner: Tenant) -> Claim:
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [claim] = making.claimed(owner)
    return claim


def test_a_retry_gets_the_items_that_are_finished(owner: Tenant, claim: Claim, execution: Execution) -> None:
    assert finished(claim) == {}
    assert b"finishedItems" not in command_of(claim).model_dump_json(by_alias=True).encode()
    record(checkpoints=[reached(claim, 1, "1", "2", many=True)])
    record(items=[items(claim, {0: [1], 2: []}), items(claim, {1: [{"a": None}, 2]}, failed=1)])
    record(items=[items(claim, {5: [5]})])
    record(items=[items(claim, {5: [5]})])  # delivered twice
    assert item_groups.progress(execution.pk) == ItemProgress(step_index=1, done=4, failed=1, total=9)
    record(making.failure(claim), items=[items(claim, {7: [7]})])
    second = again(owner)
    expected = {0: [1], 2: [], 1: [{"a": None}, 2], 5: [5], 7: [7]}
    assert finished(second) == expected
    making.lose_lease(second)
    third = again(owner)
    assert (finished(third), third.takeovers) == (expected, 1)
    record(items=[items(third, {8: [8]})])
    assert (making.reread(execution).takeovers, making.kinds(execution).count("ITEMS")) == (0, 2)
    record(checkpoints=[reached(third, 2, "1", many=True)])
    assert item_groups.progress(execution.pk) is None
    record(making.failure(third))
    assert finished(again(owner)) == {}


@cases(
    "wrong",
    {"execution_version": 7},
    {"lease_token": uuid.UUID(int=7)},
    {"step_index": 2},
    {"step_index": 0},
    {"outputs": ["[1]", '["\\u0000"]']},
    {"outputs": ["[1]", "2"]},
    {"outputs": ["[1]", "["]},
)
def test_bad_items_are_dropped_alone(owner: Tenant, claim: Claim, execution: Execution, wrong: dict[str, Any]) -> None:
    record(checkpoints=[reached(claim, 1, "1", "2", many=True)])
    record(items=[items(claim, {0: [0]}), items(claim, {3: [1], 4: [2]}).model_copy(update=wrong)])
    assert [group.items for group in ItemGroup.objects.filter(execution=execution)] == [[0]]


def test_items_do_not_count_after_an_answer_was_replaced(owner: Tenant, claim: Claim, execution: Execution) -> None:
    record(checkpoints=[reached(claim, 1, "1", "2", many=True)])
    record(making.failure(claim, retryable=False), items=[items(claim, {0: [0]})])
    for attempt, (replaced, expected) in enumerate((({}, {0: [0]}), ({"answerReplaced": "x"}, {}), ({}, {})), 1):
        execution.refresh_from_db()
        assert moves.apply([interventions.redrive_move(execution, actor="user:eva", reason="r", **replaced)])
        retried = again(owner)
        assert (retried.step_index, retried.input, retried.attempt) == (1, "[1, 2]", attempt), "after its checkpoint"
        assert finished(retried) == expected
        record(making.failure(retried, retryable=False))


# --- items that failed and were collected: which are stored, and the execution that runs them again ---

AGAIN: dict[str, Any] = {"actor": "user:ann", "reason": "the service is back", "start_from": "items"}


def failed(items: Mapping[int, str], step: int = 1, **members: Any) -> wire.FailedItems:
    rows = [wire.FailedItem(index=n, error="Busy", message="why", tries=2, item=text) for n, text in items.items()]
    return wire.FailedItems(step_index=step, **{"failed": len(rows), "items": rows, **members})


def ended(claim: Claim, *groups: wire.FailedItems) -> None:
    assert record(outcome_of(claim, failed_items=list(groups))) == 1


@cases("repeated", False, True)
def test_they_are_stored_after_their_step(owner: Tenant, claim: Claim, execution: Execution, repeated: bool) -> None:
    first = failed({3: '{"n": 3}'})
    record(making.failure(claim).model_copy(update={"failed_items": [first]}))
    assert not FailedItems.objects.exists(), "the step runs again"
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [claim] = making.claimed(owner)
    lost = reached(claim, 2, "1", many=True, failed_items=[first]).model_copy(update={"lease_token": execution.pk})
    record(checkpoints=[lost])
    assert not FailedItems.objects.exists()
    record(checkpoints=[reached(claim, 2, "1", many=True, failed_items=[first])] * (1 + repeated))
    record(checkpoints=[lost.model_copy(update={"failed_items": [failed({1: "1"}, step=0)]})])
    ended(claim, failed({7: "7"}), failed({0: "null"}, step=2))
    rows = FailedItems.objects.order_by("step_index")
    shown = [(row.step_index, row.failed, [item["item"] for item in row.items]) for row in rows]
    assert shown == [(1, 1, [{"n": 3}]), (2, 1, [None])]


def test_a_resubmission_runs_only_these_items_again(owner: Tenant, claim: Claim, execution: Execution) -> None:
    record(checkpoints=[reached(claim, 2, "1", many=True, failed_items=[failed({3: '{"n": 3}', 7: "null"})])])
    raised(ResubmitRefused, resubmit, owner, execution.pk, **AGAIN)
    ended(claim)
    new = resubmit(owner, execution.pk, operation_key="k", **AGAIN)
    assert (new.current_step_index, new.progress, new.progress_shape) == (1, [{"n": 3}, None], "MULTI")
    assert (new.input, new.release_version, new.origin.items) == (execution.input, execution.release_version, 2)
    for event in (new.events.get(), execution.events.get(kind="RESUBMITTED")):
        assert (event.data["items"], event.data["checkpointStep"]) == (2, 1)
    [again] = making.claimed(owner)
    assert (again.execution_id, again.step_index, again.input_shape) == (new.pk, 1, "MULTI")
    assert resubmit(owner, execution.pk, operation_key="k", **AGAIN) == new
    for start in ("input", "checkpoint"):
        raised(ResubmitKeyReused, resubmit, owner, execution.pk, operation_key="k", **{**AGAIN, "start_from": start})
    raised(ExecutionReplaced, resubmit, owner, execution.pk, **AGAIN)
    assert resubmit(owner, execution.pk, **{**AGAIN, "start_from": "input"}).progress is None, "it is other work"
    record(making.failure(again, retryable=False))
    sibling = resubmit(owner, execution.pk, **AGAIN)
    refused = raised(ExecutionReplaced, interventions.redrive, owner, new.pk, actor="", reason="", allow_failed=True)
    assert refused.data["executionId"] == str(sibling.pk)


@cases(
    ("groups", "changes", "refusal"),
    ([], {}, FailedItemsMissing),
    ([failed({1: ""})], {}, FailedItemsMissing),
    ([failed({1: '"\\u0000"'})], {}, FailedItemsMissing),
    ([failed({1: "{"})], {}, FailedItemsMissing),
    ([failed({1: "1"}, failed=2)], {}, FailedItemsMissing),
    ([failed({1: "1"})], {"input": 7}, CheckpointIncompatible),
)
def test_what_is_not_stored_whole_does_not_run_again(
    owner: Tenant, claim: Claim, execution: Execution, groups: Any, changes: dict[str, Any], refusal: Any
) -> None:
    ended(claim, *groups)
    assert [row.items[0]["index"] for row in FailedItems.objects.all()] == [1] * len(groups)
    raised(refusal, resubmit, owner, execution.pk, **{**AGAIN, **changes})
