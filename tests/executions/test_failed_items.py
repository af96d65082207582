"""Items that failed and were collected: which are stored, and the execution that runs them again."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from executions.errors import (
    CheckpointIncompatible,
    FailedItemsMissing,
    ResubmitKeyReused,
    ResubmitRefused,
)
from executions.models import Execution, FailedItems
from executions.state_machine.moves import Claim
from foundation.errors import CoordinatorError
from governance.activation.activation import activate
from governance.resubmission.resubmission import resubmit
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.making import outcome_of, reached, record
from tests.raw_sql import unchanged
from wire.documents.contract import DECLARATIONS_ENTRY
from wire.documents.descriptor import CHECKPOINTS
from wire.messages import step_reports as wire

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]
DECLARED = {"steps": {"Book": {"parallel": 4, "onItemFailure": "collect"}}}
AGAIN: dict[str, Any] = {"actor": "user:ann", "reason": "the service is back", "start_from": "items"}


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    owner = making.tenant()
    document = making.contract(steps=making.steps("Read", "Book", "Pay"))
    data = making.archive(document, **{DECLARATIONS_ENTRY: json.dumps(DECLARED)})
    made = making.descriptor(document, data)
    made["artifacts"][0]["capabilities"] = [CHECKPOINTS]
    release = making.verified(making.upload(owner, made, data).release)
    making.worker(release, "w")
    activate(release, actor="user:test")
    return owner, release


def failed(items: Mapping[int, str], step: int = 1, **members: Any) -> wire.FailedItems:
    found = [
        wire.FailedItem(index=index, error="Busy", message="why", tries=2, item=text) for index, text in items.items()
    ]
    return wire.FailedItems(step_index=step, **{"failed": len(found), "items": found, **members})


def ended(claim: Claim, *found: wire.FailedItems) -> None:
    assert record(outcome_of(claim, failed_items=list(found))) == 1


@pytest.mark.parametrize("repeated", [False, True])
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
    assert [(each.step_index, each.failed, [item["item"] for item in each.items]) for each in rows] == [
        (1, 1, [{"n": 3}]),
        (2, 1, [None]),
    ]


def test_a_resubmission_runs_only_these_items_again(owner: Tenant, claim: Claim, execution: Execution) -> None:
    record(checkpoints=[reached(claim, 2, "1", many=True, failed_items=[failed({3: '{"n": 3}', 7: "null"})])])
    with unchanged(), pytest.raises(ResubmitRefused):
        resubmit(owner, execution.pk, **AGAIN)
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
        with unchanged(), pytest.raises(ResubmitKeyReused):
            resubmit(owner, execution.pk, operation_key="k", **{**AGAIN, "start_from": start})


@pytest.mark.parametrize(
    ("found", "changes", "refusal"),
    [
        ([], {}, FailedItemsMissing),
        ([failed({1: ""})], {}, FailedItemsMissing),
        ([failed({1: '"\\u0000"'})], {}, FailedItemsMissing),
        ([failed({1: "{"})], {}, FailedItemsMissing),
        ([failed({1: "1"}, failed=2)], {}, FailedItemsMissing),
        ([failed({1: "1"})], {"input": 7}, CheckpointIncompatible),
    ],
    ids=str,
)
def test_what_is_not_stored_whole_is_listed_and_does_not_run_again(
    owner: Tenant,
    claim: Claim,
    execution: Execution,
    found: list[wire.FailedItems],
    changes: dict[str, Any],
    refusal: type[CoordinatorError],
) -> None:
    ended(claim, *found)
    assert [row.items[0]["index"] for row in FailedItems.objects.all()] == [1] * len(found)
    with unchanged(), pytest.raises(refusal):
        resubmit(owner, execution.pk, **{**AGAIN, **changes})
