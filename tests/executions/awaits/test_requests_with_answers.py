"""A step may take the request of the await before it, which no answer can change (ADR 118)."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions import errors
from executions.awaits import interactions
from executions.lifecycle import outcome
from executions.lifecycle.interventions import Answer, redrive
from executions.models import Execution, Interaction
from executions.transports.rest_messages import payload_of
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, itemized, suspended
from tests.executions.submission.continuing import order
from tests.raw_sql import unchanged
from wire.messages.celery_messages import OutcomeGroup
from wire.messages.suspension import ImportedInteraction, ImportedSuspension

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]
BOTH = "Approve#request-and-answer"
ASK = {**making.STEP, "authoredName": "Approve", "kind": "await", "awaitTransport": "interaction-api"}
BOOK = {**making.STEP, "index": 1, "authoredName": "Book", "inputTypeId": BOTH, "takesRequest": True}
TYPE = {"kind": "named", "id": "Order"}
RECORD = {"id": BOTH, "kind": "record", "fields": [{"name": name, "type": TYPE} for name in ("answer", "request")]}
TYPES = {**order("n"), BOTH: {"definition": RECORD}}


@pytest.fixture(scope="module")
def ready(module_world: None) -> Ready:
    return making.ready(steps=[ASK, BOOK], schemaVersion=2, canonicalTypes=TYPES)


def both(response: Any, request: Any = None) -> dict[str, Any]:
    return {"request": {"n": 1} if request is None else request, "answer": response}


def resumed(made: Execution) -> tuple[Any, str]:
    """Return what the next transition starts from: the same for a worker of Celery and of REST."""
    made.refresh_from_db()
    payload = payload_of(made)
    if made.progress_shape == "UNI":
        assert (payload.payload_type_id, json.loads(payload.payload)) == (BOTH, made.progress)
    else:
        items = json.loads(payload.payload)["items"]
        assert [(each["payloadTypeId"], json.loads(each["payload"])) for each in items] == [
            (BOTH, each) for each in made.progress or []
        ]
    [claim] = making.claimed(made.tenant)
    assert (claim.step_index, claim.input_shape) == (1, made.progress_shape)
    assert json.loads(claim.input) == made.progress
    return made.progress, claim.input_shape


EVIL: list[Any] = [
    {"request": {"n": 99}, "answer": {"n": 2}},
    {"n": 2, "request": {"n": 99}},
    {"n": 2, "answer": {"n": 3}},
    [{"request": {"n": 99}}],
    "request",
    0,
    {},
    {"request": None},
]


@cases("response", EVIL)
def test_no_answer_changes_the_request(ready: Ready, response: Any) -> None:
    """Not even if the policy disables the check of answers. Checked answers have the type of the await alone."""
    made = suspended(ready)
    one = interaction_of(made)
    with unchanged(), pytest.raises(errors.AnswerInvalid):
        answer(one, response)
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    answer(one, response)
    assert resumed(made) == (both(response), "UNI")


def test_a_null_answer_and_a_repeated_one_keep_the_request(ready: Ready) -> None:
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    made = suspended(ready)
    one = interaction_of(made)
    by: Any = {"interaction_id": one.pk, "actor": "user:eva"}
    assert not interactions.complete(one.tenant, response=None, **by).duplicate
    assert interactions.complete(one.tenant, response=both({"n": 3}), **by).duplicate
    assert resumed(made) == (both(None), "UNI")


@cases(
    ("members", "expected"),
    [
        ({"requests": ['[{"n": 1}, {"n": 2}]'], "request_shape": "MULTI"}, both({"n": 5}, [{"n": 1}, {"n": 2}])),
        ({"gives_many": True}, both([{"n": 5}])),
        ({"requests": ['[{"n": 1}]'], "request_shape": "MULTI", "gives_many": True}, both([{"n": 5}], [{"n": 1}])),
    ],
)
def test_a_list_is_one_value_beside_the_other(ready: Ready, members: Any, expected: Any) -> None:
    made = suspended(ready, **members)
    answer(interaction_of(made), [{"n": 5}] if members.get("gives_many") else {"n": 5})
    assert resumed(made) == (expected, "UNI")


def test_each_item_has_its_own_request_in_any_order_of_answers(ready: Ready) -> None:
    made, items = itemized(ready, 3)
    for place in (2, 0, 1):
        answer(items[place], {"n": 10 + place})
    assert resumed(made) == ([both({"n": 10 + n}, {"n": n}) for n in range(3)], "MULTI")


def test_an_answer_that_its_worker_reports_has_its_request_too(ready: Ready) -> None:
    made = making.execution(ready[0])
    [claim] = making.claimed(ready[0])
    reported = making.suspension(claim)
    assert reported.suspension is not None
    names: dict[str, Any] = {
        "worker_name": None,
        "correlation_id": "c",
        "metadata": {},
        "assignee": None,
        "group": None,
    }
    deadline = timezone.now() + timedelta(hours=1)
    answered = ImportedInteraction(
        id=uuid.uuid4(), status="COMPLETED", deadline=deadline, actor="bridge", response='{"request": 1}', **names
    )
    opened = ImportedSuspension(**reported.suspension.model_dump(), unit_name="u", interactions=[answered])
    group = OutcomeGroup(worker_id="worker-1", outcomes=[reported])
    assert outcome.record(ready[1].identity, group, {made.pk: opened}) == 1
    assert resumed(made) == (both({"request": 1}), "UNI")


@cases("count", [0, 3])
def test_a_retry_and_a_redrive_start_from_both_also_with_another_answer(ready: Ready, count: int) -> None:
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    made, items = itemized(ready, count) if count else (suspended(ready), [])
    items = items or [interaction_of(made)]
    for each in items:
        answer(each, {"wrong": True})
    [claim] = making.claimed(ready[0])
    assert making.record(making.failure(claim, "UNDECODABLE_PAYLOAD", retryable=False)) == 1
    made.refresh_from_db()
    before = made.progress
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=True)
    by: Any = {"actor": "user:eva", "reason": "typo", "allow_failed": True}
    for wrong in EVIL[:3]:
        with unchanged(), pytest.raises(errors.AnswerInvalid):
            redrive(ready[0], made.pk, **by, answer=Answer(items[-1].pk, wrong))
    redrive(ready[0], made.pk, **by, answer=Answer(items[-1].pk, {"n": 7}))
    asked = Interaction.objects.get(pk=items[-1].pk).request
    expected = [*(before or [])[:-1], both({"n": 7}, asked)] if count else both({"n": 7}, asked)
    assert resumed(made)[0] == expected
