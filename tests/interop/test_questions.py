import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from executions.awaits import awaits, questions
from executions.errors import CorrelationAmbiguous
from executions.lifecycle.interventions import cancel
from executions.models import Execution, Interaction
from interop import control_plane
from releases.models import Pipeline, Recipients
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import make_late, suspended
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.executions.transports.rest.strict_worker import DTO, ENCODING
from tests.interop.client import DECISION, DECISION_TYPE, accepted, call, mapping, ok, payload, place, refused
from tests.raising import error_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]


@pytest.fixture
def question(flow: Flow) -> Interaction:
    accepted(flow.owner)
    flow.dispatch()
    return Interaction.objects.get(tenant=flow.owner)


def pending(flow: Flow, query: str = "") -> Any:
    return ok("GET", place(flow.owner, f"interactions/pending{query}"))


def test_a_late_pending_question_is_listed(flow: Flow, question: Interaction, monkeypatch: pytest.MonkeyPatch) -> None:
    [item] = pending(flow)
    assert item["requestPayload"]["requestId"] == "r1"
    assert (item["outputType"], item["stepIndex"], item["status"]) == (DECISION_TYPE, 2, "DISPATCHED")
    make_late(question)
    for query in ("", "?limit=0", "?group=%20restaurant%20", f"?stepId={question.step_id}"):
        assert [row["interactionId"] for row in pending(flow, query)] == [str(question.pk)], query
    assert pending(flow, "?group=other") == pending(flow, "?assignee=eva") == pending(flow, "?stepId=x") == []
    monkeypatch.setattr(control_plane, "MAX_PENDING", 0)
    assert pending(flow, "?limit=2") == []


def test_timers_are_not_listed() -> None:
    owner, release = making.ready()
    assert suspended((owner, release), transport="timer").status == "WAITING_EXTERNAL"
    assert ok("GET", place(owner, "interactions/pending")) == []


def complete(flow: Flow, body: Any) -> Any:
    return call("POST", place(flow.owner, "interactions/complete"), body)


def test_only_the_first_answer_counts_and_a_repeat_is_a_duplicate(flow: Flow, question: Interaction) -> None:
    body = {"interactionId": f" {question.pk} ", "responsePayload": payload(DECISION_TYPE, DECISION), "actor": "eva"}
    first = complete(flow, {**body, "idempotencyKey": "ignored", "unknown": 1})
    assert (first.json()["interactionId"], first.json()["status"]) == (str(question.pk), "COMPLETED")
    assert first.json()["duplicate"] is False
    again = complete(flow, {**body, "responsePayload": payload(DECISION_TYPE, {"rejected": {}})})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    question.refresh_from_db()
    assert (question.response, question.actor) == (DECISION, "tpf-control-plane:eva")
    assert pending(flow) == []


def names_by_token(question: Interaction) -> dict[str, Any]:
    return {"resumeToken": awaits.resume_token_of(question, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])}


@cases("named", [lambda question: {"correlationId": question.correlation_id}, names_by_token])
def test_a_question_is_identified_by_correlation_id_or_token(
    flow: Flow, question: Interaction, named: Callable[[Interaction], dict[str, Any]]
) -> None:
    decision = {"accepted": {"orderId": DECISION["accepted"]["orderId"]}}
    plain_map = mapping(accepted=mapping(orderId=payload("java.lang.String", decision["accepted"]["orderId"])))
    answer = complete(flow, {**named(question), "responsePayload": plain_map})
    assert answer.status_code == 200, answer.content
    flow.dispatch()
    command = flow.double.commands[-1]
    # The worker gets the answer in plain form with the type of the await, in any case.
    assert command["payloadTypeId"] == DECISION_TYPE
    assert json.loads(command["payload"]) == decision
    assert Execution.objects.get(pk=question.execution_id).status == "SUCCEEDED"


def test_invalid_answers_are_rejected(flow: Flow, question: Interaction) -> None:
    good = {"interactionId": str(question.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    unnamed = "interactionId, correlationId, or resumeToken is required"
    assert refused(complete(flow, None)) == (400, "Await completion request is required")
    assert refused(complete(flow, {**good, "interactionId": " "})) == (400, unnamed)
    assert refused(complete(flow, {**good, "responsePayload": None})) == (400, "responsePayload is required")
    bad = payload("com.acme.X", 1)
    assert refused(complete(flow, {**good, "responsePayload": bad})) == (400, "Invalid request payload")
    for unknown in ({"interactionId": "int-9"}, {"correlationId": "none"}):
        body = {"responsePayload": good["responsePayload"], **unknown}
        assert refused(complete(flow, body)) == (404, "Not Found")
    token = names_by_token(question)["resumeToken"]
    assert refused(complete(flow, {**good, "resumeToken": token[:-4] + "AAAA"})) == (400, "Invalid request")
    question.refresh_from_db()
    assert question.status == "DISPATCHED"


def test_a_call_without_a_resume_token_names_no_recipient(flow: Flow, question: Interaction) -> None:
    Pipeline.objects.update(recipients=Recipients.ENFORCE)
    body = {"interactionId": str(question.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert refused(complete(flow, body)) == (403, "Only members of restaurant may answer.")
    assert complete(flow, {**body, **names_by_token(question)}).status_code == 200


def called_back(body: Any, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body)
    url = "/pipeline/interactions/complete"
    return Client().post(url, data, content_type="application/json", headers=headers)


def test_a_webhook_is_answered_at_the_frameworks_default_url(flow: Flow, question: Interaction) -> None:
    """The request is plain JSON without a bearer token. The resume token authenticates it."""
    body = {"correlationId": question.correlation_id, "responsePayload": DECISION, **names_by_token(question)}
    answer = called_back(body, **{"x-tenant-id": flow.owner.slug})
    assert (answer.status_code, answer.json()["status"], answer.json()["duplicate"]) == (200, "COMPLETED", False)
    flow.dispatch()
    assert json.loads(flow.double.commands[-1]["payload"]) == DECISION


def test_the_default_url_requires_the_resume_token(flow: Flow, question: Interaction, settings: Any) -> None:
    good = {"interactionId": str(question.pk), "responsePayload": DECISION}
    token = names_by_token(question)
    forged = {"resumeToken": token["resumeToken"][:-4] + "AAAA"}
    here = {"x-tenant-id": flow.owner.slug}
    assert refused(called_back(good, **here)) == (401, "")
    assert refused(called_back({**good, **forged}, **here)) == (400, "Invalid request")
    assert refused(called_back({**good, **token}, **{"x-tenant-id": "nobody"})) == (404, "Not Found")
    assert refused(called_back({"responsePayload": 1, **token})) == (400, "interactionId or correlationId is required")
    settings.TPF_CONTROL_PLANE_ENABLED = False
    assert refused(called_back({**good, **token}, **here)) == (404, "")
    question.refresh_from_db()
    assert question.status == "DISPATCHED"


def test_an_execution_has_a_status_and_then_an_unchanged_result(flow: Flow) -> None:
    path = place(flow.owner, f"executions/{accepted(flow.owner).pk}")
    assert ok("GET", path)["status"] == "QUEUED"
    flow.dispatch()
    waiting = ok("GET", path)
    assert (waiting["status"], waiting["stepIndex"], waiting["version"]) == ("WAITING_EXTERNAL", 2, 2)
    assert waiting["nextDueAtEpochMs"] == 2**63 - 1
    assert ok("GET", f"{path}/result") == {"status": waiting, "resultPayload": None}
    [question] = pending(flow)
    answer = {"interactionId": question["interactionId"], "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert complete(flow, answer).status_code == 200
    flow.dispatch()
    response = ok("GET", f"{path}/result")
    assert (response["status"]["status"], response["status"]["stepIndex"]) == ("SUCCEEDED", 3)
    order_id = DECISION["accepted"]["orderId"]
    assert response["resultPayload"] == {
        "payloadTypeId": DTO + "TerminalOrderStateDto",
        "payloadEncoding": ENCODING,
        "payload": f'{{ "state":"ACCEPTED",  "orderId":"{order_id}", "total":27.50 }}',
    }


def test_a_cancelled_execution_is_reported_as_failed(flow: Flow) -> None:
    made = accepted(flow.owner)
    cancel(flow.owner, made.pk, actor="user:test", reason="no")
    status = ok("GET", place(flow.owner, f"executions/{made.pk}"))
    assert (status["status"], status["errorCode"]) == ("FAILED", "CANCELLED")


def correlated(flow: Flow, key: str) -> Interaction:
    """Return the question of an execution. Its worker chose the correlation id."""

    def suspend(command: Any) -> Any:
        answer = flow.double.suspend(command, ORDER)
        answer["awaitSuspension"]["interactions"][0]["correlationId"] = "order-1"
        return answer

    flow.double.answers = [suspend]
    made = making.execution(flow.owner, key, ORDER, PIPELINE)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL", made.error_message
    return made.interactions.get()


def answered(flow: Flow, **named: Any) -> questions.Answered:
    return questions.answer(flow.owner, response=DECISION, actor="user:eva", **named)


def test_an_ambiguous_correlation_id_answers_no_interaction_but_an_id_does(flow: Flow) -> None:
    first, other = correlated(flow, "one"), correlated(flow, "other")
    ambiguous = error_of(CorrelationAmbiguous, answered, flow, correlation_id="order-1")
    assert set(ambiguous.data["interactionIds"]) == {str(first.pk), str(other.pk)}
    body = {"correlationId": "order-1", "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert refused(complete(flow, body)) == (409, ambiguous.detail)
    assert set(Interaction.objects.values_list("status", flat=True)) == {"DISPATCHED"}

    assert answered(flow, question_id=first.pk, correlation_id="order-1").question == first
    # A client that repeats its answer to the first one must not answer the second one.
    error_of(CorrelationAmbiguous, answered, flow, correlation_id="order-1")
    assert answered(flow, question_id=other.pk).question == other
