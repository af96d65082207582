"""A step may take the request of the await before it, which no answer can change (ADR 118)."""

import json
from typing import Any

import pytest

from executions import errors
from executions.awaits import interactions
from executions.lifecycle.interventions import Answer, redrive
from executions.models import Execution
from executions.transports.rest_messages import payload_of
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, itemized, suspended
from tests.executions.submission.continuing import order
from tests.raw_sql import unchanged
from wire.messages.payload_envelopes import parts

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


def both(response: Any, request: Any) -> dict[str, Any]:
    return {"request": request, "answer": response}


def resumed(made: Execution) -> tuple[Any, str]:
    """Return what the next transition starts from: the same for a worker of Celery and of REST."""
    made.refresh_from_db()
    sent = payload_of(made)
    items = [sent] if made.progress_shape == "UNI" else parts(sent)
    typed = [(each.payload_type_id, json.loads(each.payload)) for each in items]
    [claim] = making.claimed(made.tenant)
    found = json.loads(claim.input)
    assert typed == [(BOTH, each) for each in ([found] if claim.input_shape == "UNI" else found)]
    return found, claim.input_shape


OTHER = {"request": {"n": 99}, "answer": {"n": 2}}
EVIL: list[Any] = [OTHER, {"n": 2, **OTHER}, [OTHER], "request", 0, {}, {"request": None}, None]
LIST = {"requests": ['[{"n": 1}, {"n": 2}]'], "request_shape": "MULTI"}


@cases(("members", "response"), [*(({}, each) for each in EVIL), (LIST, OTHER), ({"gives_many": True}, [OTHER])])
def test_no_answer_changes_the_request(ready: Ready, members: dict[str, Any], response: Any) -> None:
    """Not even if the policy disables the check of answers. Checked answers have the type of the await alone."""
    made = suspended(ready, **members)
    by: Any = {"interaction_id": interaction_of(made).pk, "actor": "user:eva"}
    with unchanged(), pytest.raises(errors.AnswerInvalid):
        interactions.complete(ready[0], response=response, **by)
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    assert not interactions.complete(ready[0], response=response, **by).duplicate
    assert interactions.complete(ready[0], response=OTHER, **by).duplicate
    assert resumed(made) == (both(response, [{"n": 1}, {"n": 2}] if members is LIST else {"n": 1}), "UNI")


@cases("count", [1, 3])
def test_a_redrive_starts_from_both_also_with_another_answer(ready: Ready, count: int) -> None:
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    made, items = itemized(ready, count)
    for each in reversed(items):
        answer(each, {"wrong": each.item_index})
    [claim] = making.claimed(ready[0])
    assert making.record(making.failure(claim, "UNDECODABLE_PAYLOAD", retryable=False)) == 1
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=True)
    by: Any = {"actor": "user:eva", "reason": "typo", "allow_failed": True}
    with unchanged(), pytest.raises(errors.AnswerInvalid):
        redrive(ready[0], made.pk, **by, answer=Answer(items[-1].pk, OTHER))
    redrive(ready[0], made.pk, **by, answer=Answer(items[-1].pk, {"n": 7}))
    answers = [*({"wrong": n} for n in range(count - 1)), {"n": 7}]
    assert resumed(made) == ([both(each, {"n": n}) for n, each in enumerate(answers)], "MULTI")
