"""Items that are finished while their step runs: what is stored, and what the next command says."""

import uuid
from typing import Any

import pytest

from executions.lifecycle import interventions, item_groups
from executions.lifecycle.item_groups import ItemProgress
from executions.models import Execution, ItemGroup
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.making import items, reached, record

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    return making.checkpointing(3)


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
    execution.refresh_from_db()
    assert (execution.takeovers, making.kinds(execution).count("ITEMS")) == (0, 2)
    record(checkpoints=[reached(third, 2, "1", many=True)])
    assert item_groups.progress(execution.pk) is None
    record(making.failure(third))
    assert finished(again(owner)) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"execution_version": 7},
        {"lease_token": uuid.UUID(int=7)},
        {"step_index": 2},
        {"step_index": 0},
        {"outputs": ["[1]", '["\\u0000"]']},
        {"outputs": ["[1]", "2"]},
        {"outputs": ["[1]", "["]},
    ],
    ids=str,
)
def test_bad_items_are_dropped_alone(owner: Tenant, claim: Claim, execution: Execution, wrong: dict[str, Any]) -> None:
    record(checkpoints=[reached(claim, 1, "1", "2", many=True)])
    bad = items(claim, {3: [1], 4: [2]}).model_copy(update=wrong)
    record(items=[items(claim, {0: [0]}), bad])
    assert [each.items for each in ItemGroup.objects.filter(execution=execution)] == [[0]]


def test_items_do_not_count_after_an_answer_was_replaced(owner: Tenant, claim: Claim, execution: Execution) -> None:
    record(checkpoints=[reached(claim, 1, "1", "2", many=True)])
    record(making.failure(claim, retryable=False), items=[items(claim, {0: [0]})])
    for replaced, expected in ({}, {0: [0]}), ({"answerReplaced": "x"}, {}), ({}, {}):
        execution.refresh_from_db()
        assert moves.apply([interventions.redrive_move(execution, actor="user:eva", reason="r", **replaced)])
        retried = again(owner)
        assert finished(retried) == expected
        record(making.failure(retried, retryable=False))
