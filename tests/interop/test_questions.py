"""Open questions and their answers over `/tpf` (wire protocol C.4, C.6)."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from executions.models import Execution, Interaction
from interop import control_plane
from tests import making
from tests.executions.awaits.parking import make_late, suspended
from tests.executions.transports.rest.order_flow import Flow
from tests.interop.client import call, ok, payload, refused
from tests.interop.submitting import DECISION, DECISION_TYPE, accepted, mapping, order, place

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]


@pytest.fixture
def asked(flow: Flow) -> Interaction:
    accepted(flow.owner)
    flow.dispatch()
    return Interaction.objects.get(tenant=flow.owner)


def pending(flow: Flow, query: str = "") -> Any:
    return ok("GET", place(flow.owner, f"interactions/pending{query}"))


def test_what_is_pending_has_its_members_and_plain_json(flow: Flow, asked: Interaction) -> None:
    [item] = pending(flow)
    assert list(item) == [
        "interactionId", "correlationId", "executionId", "stepId", "stepIndex", "outputType", "status",
        "requestPayload", "assignee", "group", "transportType", "transportMetadata", "deadlineEpochMs",
        "createdAtEpochMs", "updatedAtEpochMs",
    ]  # fmt: skip
    assert item["requestPayload"]["requestId"] == "r1"
    assert (item["outputType"], item["stepIndex"], item["status"]) == (DECISION_TYPE, 2, "DISPATCHED")
    assert type(item["transportMetadata"]["dispatchedAtEpochMs"]) is int
    make_late(asked)
    assert [each["interactionId"] for each in pending(flow)] == [str(asked.pk)]


def test_what_is_pending_is_filtered_and_bounded(flow: Flow, asked: Interaction) -> None:
    accepted(flow.owner, order("k2"))
    flow.dispatch()
    first, second = (each["interactionId"] for each in pending(flow))
    assert first == str(asked.pk)
    for limit, count in (("", 2), ("?limit=1", 1), ("?limit=0", 1), ("?limit=-5", 1), ("?limit=99999", 2)):
        assert len(pending(flow, limit)) == count, limit
    assert len(pending(flow, "?group=%20restaurant%20&assignee=")) == 2
    assert pending(flow, "?group=other") == pending(flow, "?assignee=eva") == pending(flow, "?stepId=x") == []
    assert len(pending(flow, "?stepId=ProcessAwaitRestaurantDecisionService")) == 2
    assert second != first
    assert call("GET", place(flow.owner, "interactions/pending?limit=ten")).status_code == 404


def test_no_more_is_listed_than_the_bound(flow: Flow, asked: Interaction, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(flow.owner, order("k2"))
    flow.dispatch()
    monkeypatch.setattr(control_plane, "MAX_PENDING", 1)
    assert len(pending(flow, "?limit=2")) == 1


def complete(flow: Flow, body: Any) -> Any:
    return call("POST", place(flow.owner, "interactions/complete"), body)


def test_a_timer_is_pending_for_nobody(flow: Flow) -> None:
    owner, release = making.ready()
    made = suspended((owner, release), transport="timer")
    assert made.status == "WAITING_EXTERNAL"
    assert ok("GET", place(owner, "interactions/pending")) == []


def test_what_is_answered_is_pending_no_more(flow: Flow, asked: Interaction) -> None:
    body = {"interactionId": str(asked.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert complete(flow, body).status_code == 200
    assert pending(flow) == []


def test_an_answer_counts_once_and_a_repeat_wakes_the_execution(flow: Flow, asked: Interaction) -> None:
    body = {"interactionId": f" {asked.pk} ", "responsePayload": payload(DECISION_TYPE, DECISION), "actor": "eva"}
    first = complete(flow, {**body, "idempotencyKey": "ignored", "unknown": 1})
    assert first.json() == {
        "interactionId": str(asked.pk),
        "executionId": str(asked.execution_id),
        "stepId": "ProcessAwaitRestaurantDecisionService",
        "status": "COMPLETED",
        "duplicate": False,
    }
    again = complete(flow, {**body, "responsePayload": payload(DECISION_TYPE, {"rejected": {}})})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    asked.refresh_from_db()
    assert (asked.response, asked.actor) == (DECISION, "tpf-control-plane:eva")


def names_by_correlation(asked: Interaction) -> dict[str, Any]:
    return {"correlationId": asked.correlation_id}


def names_by_token(asked: Interaction) -> dict[str, Any]:
    from django.utils import timezone

    from executions.awaits import awaits

    return {"resumeToken": awaits.resume_token_of(asked, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])}


@pytest.mark.parametrize("named", [names_by_correlation, names_by_token])
def test_an_answer_names_its_question_in_other_ways(
    flow: Flow, asked: Interaction, named: Callable[[Interaction], dict[str, Any]]
) -> None:
    plain_map = mapping(accepted=mapping(orderId=payload("java.lang.String", DECISION["accepted"]["orderId"])))
    answer = complete(flow, {**named(asked), "responsePayload": plain_map})
    assert answer.status_code == 200, answer.content
    flow.dispatch()
    command = flow.double.commands[-1]
    # Wire protocol F.6: whatever the answer came as, it goes on under the type that was asked for, and bare.
    assert command["payloadTypeId"] == DECISION_TYPE
    assert json.loads(command["payload"]) == {"accepted": {"orderId": DECISION["accepted"]["orderId"]}}
    assert Execution.objects.get(pk=asked.execution_id).status == "SUCCEEDED"


def test_an_answer_of_null_goes_on_without_a_type(flow: Flow, asked: Interaction) -> None:
    assert complete(flow, {"interactionId": str(asked.pk), "responsePayload": payload("null", None)}).status_code == 200
    flow.dispatch()
    command = flow.double.commands[-1]
    assert (command["payloadTypeId"], command["payload"]) == ("null", "null")


def test_what_is_no_answer_is_refused(flow: Flow, asked: Interaction) -> None:
    good = {"interactionId": str(asked.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    unnamed = "interactionId, correlationId, or resumeToken is required"
    assert refused(complete(flow, None)) == (400, "Await completion request is required")
    assert refused(complete(flow, {**good, "interactionId": " "})) == (400, unnamed)
    assert refused(complete(flow, {**good, "responsePayload": None})) == (400, "responsePayload is required")
    for bad in ({}, payload("com.acme.X", 1), {**payload(DECISION_TYPE, 1), "payloadEncoding": "x"}):
        assert refused(complete(flow, {**good, "responsePayload": bad})) == (400, "Invalid request payload")
    for unknown in ({"interactionId": str(uuid.uuid4())}, {"interactionId": "int-9"}, {"correlationId": "none"}):
        body = {"responsePayload": good["responsePayload"], **unknown}
        assert refused(complete(flow, body)) == (404, "Not Found")
    token = names_by_token(asked)["resumeToken"]
    for bad_token in ("nonsense", token[:-2] + "xx"):
        assert refused(complete(flow, {**good, "resumeToken": bad_token})) == (400, "Invalid request")
    asked.refresh_from_db()
    assert asked.status == "DISPATCHED"
    other = making.tenant()
    path = f"control-plane/tenants/{other.slug}/interactions/complete"
    assert refused(call("POST", path, good)) == (404, "Not Found")


def test_a_late_answer_fails_the_execution_as_the_sweep_would(flow: Flow, asked: Interaction) -> None:
    make_late(asked)
    good = {"interactionId": str(asked.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert refused(complete(flow, good)) == (400, "Invalid request")
    told = ok("GET", place(flow.owner, f"executions/{asked.execution_id}"))
    assert (told["status"], told["errorCode"]) == ("FAILED", "AWAIT_TIMEOUT")
    assert refused(complete(flow, good)) == (400, "Invalid request")


def test_a_token_that_the_worker_signed_answers(flow: Flow, asked: Interaction, settings: Any) -> None:
    """Worker and coordinator share the secret; the token is written from the protocol alone (F.8)."""
    import base64
    import hashlib
    import hmac

    settings.RESUME_TOKEN_SECRET = "a-resume-token-secret-of-both-sides"
    [item] = pending(flow)
    members = {
        "tenantId": flow.owner.slug,
        "interactionId": item["interactionId"],
        "correlationId": item["correlationId"],
        "executionId": item["executionId"],
        "stepId": item["stepId"],
        "deadlineEpochMs": item["deadlineEpochMs"],
        "issuedAtEpochMs": item["createdAtEpochMs"],
    }

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    body = encoded(json.dumps(members, separators=(",", ":")).encode())
    signed = hmac.new(settings.RESUME_TOKEN_SECRET.encode(), body.encode(), hashlib.sha256).digest()
    answer = complete(
        flow, {"resumeToken": f"{body}.{encoded(signed)}", "responsePayload": payload(DECISION_TYPE, DECISION)}
    )
    assert answer.status_code == 200, answer.content


def called_back(body: Any, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body)
    url = "/pipeline/interactions/complete"
    return Client().post(url, data, content_type="application/json", headers=headers)


def test_a_webhook_is_answered_where_its_worker_says_by_default(flow: Flow, asked: Interaction) -> None:
    """Plain JSON, no bearer: the resume token lets in (wire protocol C.6, F.8)."""
    body = {"correlationId": asked.correlation_id, "responsePayload": DECISION, **names_by_token(asked)}
    answer = called_back(body, **{"x-tenant-id": flow.owner.slug})
    assert (answer.status_code, answer.json()["status"], answer.json()["duplicate"]) == (200, "COMPLETED", False)
    again = called_back({**body, "interactionId": str(asked.pk)})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    flow.dispatch()
    assert json.loads(flow.double.commands[-1]["payload"]) == DECISION


def test_without_its_token_nothing_is_answered_there(flow: Flow, asked: Interaction, settings: Any) -> None:
    good = {"interactionId": str(asked.pk), "responsePayload": DECISION}
    token = names_by_token(asked)
    forged = {"resumeToken": token["resumeToken"][:-4] + "AAAA"}
    here = {"x-tenant-id": flow.owner.slug}
    assert refused(called_back(good, **here)) == (401, "")
    assert refused(called_back({**good, **forged}, **here)) == (400, "Invalid request")
    assert refused(called_back({**good, **token}, **{"x-tenant-id": "nobody"})) == (404, "Not Found")
    assert refused(called_back({"responsePayload": 1, **token})) == (400, "interactionId or correlationId is required")
    assert refused(called_back({**good, **token, "responsePayload": None})) == (400, "responsePayload is required")
    assert refused(called_back(b"{")) == (400, "Invalid request")
    settings.TPF_CONTROL_PLANE_ENABLED = False
    assert refused(called_back({**good, **token}, **here)) == (404, "")
    asked.refresh_from_db()
    assert asked.status == "DISPATCHED"
