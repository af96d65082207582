import json
from collections.abc import Callable
from hashlib import md5
from typing import Any
from uuid import UUID

import pytest

from executions import errors
from executions.awaits import awaits, questions
from executions.errors import AwaitTimedOut, QuestionClosed
from executions.lifecycle import dispatch, interventions
from executions.lifecycle.interventions import Answer, redrive
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from executions.transports.rest_messages import payload_of
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, assert_timed_out, interaction_of, itemized, make_late, suspended
from tests.executions.awaits.test_answers import token_of
from tests.executions.moments import now, set_deadline, statuses
from tests.executions.submission.continuing import order
from tests.raw_sql import raised, run, unguarded
from wire.messages.payload_envelopes import parts

Ready = tuple[Tenant, Release]


def test_a_suspension_parks_the_execution_and_opens_its_interaction(ready: Ready) -> None:
    made = suspended(ready, request='{"n": 7}', assignee="eva", group="finance")
    question = interaction_of(made)
    assert (made.status, made.current_step_index, made.version) == ("WAITING_EXTERNAL", 0, 2)
    assert (made.progress, made.progress_shape, made.await_unit_id) == ({"n": 7}, "UNI", question.unit_id)
    unit = question.unit
    assert (unit.status, unit.expected_items, unit.itemized) == ("WAITING_EXTERNAL", 1, False)
    assert (question.status, question.request, question.item_index) == ("DISPATCHED", {"n": 7}, None)
    assert (question.assignee, question.group) == ("eva", "finance")
    name = f"{ready[0].slug}:{made.pk}:Approve:{question.unit_id}".encode()
    assert UUID(question.correlation_id) == UUID(bytes=md5(name).digest(), version=3)
    assert making.history(made)[-1] == ("AWAITING", "WAITING_EXTERNAL")
    assert dispatch.dispatch() == 0


@cases(
    ("members", "message"),
    ({"transport": "carrier-pigeon"}, "carrier-pigeon"),
    ({"requests": ['{"n": 1}', '{"n": 2}']}, "makes 2 requests, but only one"),
    ({"transport": "webhook", "transport_metadata": {"url": "ftp://example.org/"}}, "no http or https URL"),
    ({"timeout_seconds": 1e12}, "hundred years"),
    ({"output_type": "x" * 501}, "more than 500"),
    ({"assignee": "e\x00va"}, "must be printable"),
    ({"step_id": "\x00"}, ""),
    ({"step_index": 2**70}, ""),
    ({"transport_metadata": {"url": "\x00"}}, "contains a NUL character"),
)
def test_an_unanswerable_suspension_fails_at_once(ready: Ready, members: dict[str, Any], message: str) -> None:
    made = suspended(ready, **members)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert message in str(made.error_message)
    assert not AwaitUnit.objects.filter(execution=made).exists()
    assert DeadLetter.objects.get(execution=made).reason == "non_retryable"


def test_an_expired_deadline_fails_the_execution_and_a_redrive_asks_again(ready: Ready) -> None:
    made, other = suspended(ready, "late", request='{"n": 7}'), suspended(ready, "in time")
    make_late(interaction_of(made))
    assert awaits.expire() == 1
    assert_timed_out(made, interaction_of(made))
    assert making.reread(other).status == "WAITING_EXTERNAL"
    assert awaits.expire() == 0
    interventions.redrive(ready[0], made.pk, actor="user:op", reason="again", allow_failed=True)
    [claim] = making.claimed(ready[0])
    assert (claim.step_index, claim.input) == (0, '{"n": 7}')
    making.record(making.suspension(claim, request='{"n": 7}'))
    answer(Interaction.objects.get(execution=made, status="DISPATCHED"))
    assert making.reread(made).status == "QUEUED"


def by_token(question: Interaction) -> None:
    questions.resume(token_of(question), response={"n": 1}, actor="")


@cases("give", [answer, by_token])
def test_a_late_answer_fails_the_execution_too(ready: Ready, give: Callable[[Interaction], object]) -> None:
    made = suspended(ready)
    set_deadline(interaction_of(made), now())
    for _ in range(2):
        with pytest.raises(AwaitTimedOut):
            give(interaction_of(made))
        assert_timed_out(made, interaction_of(made))


def test_one_late_item_fails_the_unit_and_withdraws_the_others(ready: Ready) -> None:
    made, items = itemized(ready, 4)
    answer(items[0])
    with unguarded(Interaction):
        make_late(*items[:3])
        run("UPDATE executions_interaction SET deadline = deadline - interval '1 s' WHERE id = %s", items[1].pk)
    awaits.expire()
    assert_timed_out(made, items[1])
    assert statuses(made) == ["COMPLETED", "TIMED_OUT", "TIMED_OUT", "CANCELLED"]
    caught = raised(QuestionClosed, answer, items[3])
    assert caught.data == dict.fromkeys(("questionStatus", "interactionStatus"), "CANCELLED")


def test_an_expired_timer_resumes_the_execution_with_its_request(ready: Ready) -> None:
    made = suspended(ready, request='{"n": 3}', transport="timer", timeout_seconds=3600)
    question = interaction_of(made)
    assert question.status == "WAITING"
    assert awaits.expire() == 0
    for _ in range(2):
        raised(QuestionClosed, answer, question)
        make_late(question)
    assert awaits.expire() == 1
    made.refresh_from_db()
    assert (making.reread(question).status, question.response, question.actor) == ("COMPLETED", {"n": 3}, "timer")
    assert (made.status, made.current_step_index, made.progress) == ("QUEUED", 1, {"n": 3})
    assert making.history(made)[-1] == ("AWAIT_COMPLETED", "QUEUED")


# --- a step may take the request of the await before it, which no answer can change (ADR 118) ---

BOTH = "Approve#request-and-answer"
ASK = {**making.STEP, "authoredName": "Approve", "kind": "await", "awaitTransport": "interaction-api"}
BOOK = {**making.STEP, "index": 1, "authoredName": "Book", "inputTypeId": BOTH, "takesRequest": True}
TYPE = {"kind": "named", "id": "Order"}
RECORD = {"id": BOTH, "kind": "record", "fields": [{"name": name, "type": TYPE} for name in ("answer", "request")]}
TYPES = {**order("n"), BOTH: {"definition": RECORD}}


@pytest.fixture(scope="module")
def with_request(module_world: None) -> Ready:
    return making.ready(steps=[ASK, BOOK], schemaVersion=2, canonicalTypes=TYPES)


def both(response: Any, request: Any) -> dict[str, Any]:
    return {"request": request, "answer": response}


def resumed(made: Execution) -> tuple[Any, str]:
    """Return what the next transition starts from: the same for Celery, for REST, and after a takeover."""
    made.refresh_from_db()
    sent = payload_of(made)
    items = [sent] if made.progress_shape == "UNI" else parts(sent)
    typed = [(item.payload_type_id, json.loads(item.payload)) for item in items]
    [claim] = making.claimed(made.tenant)
    making.lose_lease(claim)
    Execution.objects.update(next_due_at=making.LONG_AGO)
    [taken_over] = making.claimed(made.tenant)
    assert (taken_over.input, taken_over.input_shape) == (claim.input, claim.input_shape)
    value = json.loads(claim.input)
    assert typed == [(BOTH, item) for item in ([value] if claim.input_shape == "UNI" else value)]
    return value, claim.input_shape


OTHER = {"request": {"n": 99}, "answer": {"n": 2}}
EVIL: list[Any] = [OTHER, {"n": 2, **OTHER}, [OTHER], "request", 0, {}, {"request": None}, None]
LIST = {"requests": ['[{"n": 1}, {"n": 2}]'], "request_shape": "MULTI"}


@cases(("members", "response"), [*(({}, text) for text in EVIL), (LIST, OTHER), ({"gives_many": True}, [OTHER])])
def test_no_answer_changes_the_request(with_request: Ready, members: dict[str, Any], response: Any) -> None:
    """Not even if the policy disables the check of answers. Checked answers have the type of the await alone."""
    made = suspended(with_request, **members)
    by: Any = {"question_id": interaction_of(made).pk, "actor": "user:eva"}
    raised(errors.AnswerInvalid, questions.answer, with_request[0], response=response, **by)
    Pipeline.objects.filter(tenant=with_request[0]).update(validate_answers=False)
    assert not questions.answer(with_request[0], response=response, **by).duplicate
    assert questions.answer(with_request[0], response=OTHER, **by).duplicate
    assert resumed(made) == (both(response, [{"n": 1}, {"n": 2}] if members is LIST else {"n": 1}), "UNI")


@cases("count", [1, 3])
def test_a_redrive_starts_from_both_also_with_another_answer(with_request: Ready, count: int) -> None:
    Pipeline.objects.filter(tenant=with_request[0]).update(validate_answers=False)
    made, items = itemized(with_request, count)
    for item in reversed(items):
        answer(item, {"wrong": item.item_index})
    [claim] = making.claimed(with_request[0])
    assert making.record(making.failure(claim, "UNDECODABLE_PAYLOAD", retryable=False)) == 1
    Pipeline.objects.filter(tenant=with_request[0]).update(validate_answers=True)
    by: Any = {"actor": "user:eva", "reason": "typo", "allow_failed": True}
    raised(errors.AnswerInvalid, redrive, with_request[0], made.pk, **by, answer=Answer(items[-1].pk, OTHER))
    redrive(with_request[0], made.pk, **by, answer=Answer(items[-1].pk, {"n": 7}))
    answers = [*({"wrong": n} for n in range(count - 1)), {"n": 7}]
    assert resumed(made) == ([both(answer, {"n": n}) for n, answer in enumerate(answers)], "MULTI")
