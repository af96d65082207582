"""How the suspensions of REST workers are imported (wire protocol F)."""

import base64
import json
import uuid
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from executions.awaits import interactions, webhooks
from executions.awaits.awaits import expire
from executions.errors import InteractionUnknown
from executions.lifecycle.redrive import redrive
from executions.models import AwaitUnit, Execution, Interaction
from executions.transports.rest import calls
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import make_late
from tests.executions.transports.rest.order_flow import DECISION, FAILED, ORDER, Flow, altered, answered, submit
from tests.executions.transports.rest.strict_worker import (
    DTO,
    completed,
    name_uuid,
)
from tests.receiving import receiving


def both(suspension: dict[str, Any], **members: Any) -> None:
    for part in (suspension, suspension["unit"], *suspension["interactions"]):
        part.update({name: value for name, value in members.items() if name in part})


@cases(
    "change",
    [
        lambda suspension: suspension.update(unit=None),
        lambda suspension: suspension.update(interactions=[]),
        lambda suspension: suspension["unit"].update(primaryInteractionId=str(uuid.uuid4())),
        lambda suspension: suspension["unit"].update(status="TIMED_OUT"),
        lambda suspension: suspension["interactions"][0].update(status="EXPIRED"),
        lambda suspension: suspension["interactions"][0].update(unitId="another"),
        lambda suspension: both(suspension, tenantId="another"),
        lambda suspension: both(suspension, executionId=str(uuid.uuid4())),
        lambda suspension: suspension["unit"].update(executionId=str(uuid.uuid4())),
        lambda suspension: suspension["unit"].update(primaryInteractionId=None),
        lambda suspension: suspension["interactions"][0].update(deadlineEpochMs=10**17),
    ],
)
def test_a_suspension_that_cannot_be_completed_fails_the_execution(flow: Flow, change: Any) -> None:
    made = altered(flow, change)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert not Interaction.objects.filter(execution=made).exists()


@cases(
    "change",
    [
        lambda suspension: suspension.update(surprise=1),
        lambda suspension: suspension["unit"].update(completedItemCount=-1),
        lambda suspension: suspension["unit"].update(expectedItemCount=1, completedItemCount=2),
        lambda suspension: suspension["unit"].update(completedItemKeys=["item:0"]),
        lambda suspension: suspension["interactions"][0].update(outputType=" "),
        lambda suspension: suspension["interactions"][0]["transportMetadata"].update(adapter=None),
        lambda suspension: suspension["interactions"][0].update(status="LOST"),
    ],
)
def test_a_suspension_that_breaks_the_protocol_is_malformed(flow: Flow, change: Any) -> None:
    made = altered(flow, change)
    assert (made.status, made.error_code) == ("WAIT_RETRY", FAILED)
    assert "malformed JSON" in (made.error_message or "")


def test_ids_and_the_deadline_are_those_of_the_worker(flow: Flow) -> None:
    sent: dict[str, Any] = {}
    made = altered(flow, lambda suspension: sent.update(suspension))
    [theirs] = sent["interactions"]
    question = Interaction.objects.get(execution=made)
    assert str(question.pk) == theirs["interactionId"]
    assert question.correlation_id == theirs["correlationId"]
    assert int(question.deadline.timestamp() * 1000) == theirs["deadlineEpochMs"]
    with pytest.raises(InteractionUnknown):
        interactions.complete(making.tenant(), interaction_id=question.pk, response={}, actor="x")


def test_an_id_that_is_not_a_uuid_is_mapped_to_one(flow: Flow) -> None:
    def change(suspension: Any) -> None:
        suspension["unit"]["primaryInteractionId"] = suspension["interactions"][0]["interactionId"] = "int-1"

    made = altered(flow, change)
    expected = name_uuid(f"{flow.owner.slug}:interaction:int-1")
    assert str(Interaction.objects.get(execution=made).pk) == expected


def test_a_durable_payload_is_unwrapped(flow: Flow) -> None:
    wrapped = {
        "canonicalTypeId": "Pending",
        "typeExpressionFingerprint": "f",
        "catalogFingerprint": "c",
        "encoding": "application/tpf-canonical+json",
        "encodingVersion": 1,
        "payload": base64.b64encode(b'{"orderId": "o1"}').decode(),
    }
    made = altered(flow, lambda suspension: suspension["interactions"][0].update(requestPayload=wrapped))
    assert Interaction.objects.get(execution=made).request == {"orderId": "o1"}


def test_a_completed_unit_resumes_the_execution_at_once(flow: Flow) -> None:
    def change(suspension: Any) -> None:
        suspension["unit"].update(status="COMPLETED", completedItemCount=0)
        suspension["interactions"][0].update(status="COMPLETED", responsePayload=DECISION, actor="bridge")

    made = altered(flow, change)
    assert made.status == "SUCCEEDED"
    assert Interaction.objects.get(execution=made).actor == "bridge"
    assert json.loads(flow.double.commands[-1]["payload"]) == DECISION


def test_the_items_of_a_stream_are_answered_separately(flow: Flow) -> None:
    def change(suspension: Any) -> None:
        [one] = suspension["interactions"]
        suspension["unit"].update(primaryInteractionId=None, expectedItemCount=2, dispatchComplete=True)
        suspension["interactions"] = [
            {**one, "interactionId": str(uuid.uuid4()), "correlationId": f"{one['correlationId']}:{n}", "itemIndex": n}
            for n in (1, 0)
        ]

    made = altered(flow, change)
    assert made.status == "WAITING_EXTERNAL", made.error_message
    question = Interaction.objects.filter(execution=made).order_by("-item_index")
    flow.double.answers = [completed()]
    for each in question:
        answered(flow, each, {"accepted": {"place": each.item_index}})
    flow.dispatch()
    command = flow.double.commands[-1]
    assert command["payloadTypeId"] == "java.util.List"
    items = json.loads(command["payload"])["items"]
    assert [item["payloadTypeId"] for item in items] == [DTO + "RestaurantDecisionDto"] * 2
    assert [json.loads(item["payload"]) for item in items] == [{"accepted": {"place": 0}}, {"accepted": {"place": 1}}]


def timed_out(flow: Flow) -> tuple[Interaction, dict[str, Any]]:
    """Return the interaction of an await that timed out, and the suspension that the worker repeats."""
    sent: list[dict[str, Any]] = []

    def suspend(command: Any) -> Any:
        sent.append(flow.double.suspend(command, ORDER))
        return sent[0]

    flow.double.answers = [suspend, suspend]
    made = submit(flow)
    flow.dispatch()
    first = Interaction.objects.select_related("execution").get(execution=made)
    make_late(first)
    expire()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "AWAIT_TIMEOUT")
    return first, sent[0]["awaitSuspension"]


def test_a_redriven_await_gets_new_ids_if_the_worker_repeats_the_old_ones(flow: Flow) -> None:
    """A worker that still stores its old interaction sends it again (wire protocol F.5, appendix 3)."""
    first, suspension = timed_out(flow)
    made = first.execution
    [old] = suspension["interactions"]
    for moment in ("createdAtEpochMs", "deadlineEpochMs"):
        old[moment] -= 7 * 24 * 3600 * 1000
    redrive(flow.owner, made.pk, actor="user:test", reason="ask again", allow_failed=True)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL", made.error_message
    assert AwaitUnit.objects.filter(execution=made).count() == 2
    second = Interaction.objects.get(execution=made, status="DISPATCHED")
    assert second.pk != first.pk
    assert second.deadline > timezone.now()
    answered(flow, second)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"


def test_a_redriven_await_resumes_with_the_workers_answer(flow: Flow) -> None:
    first, suspension = timed_out(flow)
    made = first.execution
    suspension["unit"].update(status="COMPLETED")
    suspension["interactions"][0].update(status="COMPLETED", responsePayload=DECISION)
    redrive(flow.owner, made.pk, actor="user:test", reason="ask again", allow_failed=True)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED", made.error_message
    first.refresh_from_db()
    assert (first.status, first.response) == ("TIMED_OUT", None)


def left(flow: Flow, transport: str, **metadata: Any) -> Execution:
    def change(suspension: Any) -> None:
        suspension["interactions"][0].update(
            status="WAITING", transportType=transport, transportMetadata=metadata, version=0
        )

    return altered(flow, change)


def test_a_webhook_that_the_worker_did_not_send_is_sent(flow: Flow, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    with receiving() as receiver:
        made = left(flow, "webhook", url=receiver.url())
        assert webhooks.send()
        [sent] = receiver.requests
    assert made.status == "WAITING_EXTERNAL"
    assert sent.json["outputType"] == DTO + "RestaurantDecisionDto"
    interactions.resume(sent.json["resumeToken"], response=DECISION, actor="erp")
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"


def test_the_documentation_states_the_takeover_time() -> None:
    page = (Path(__file__).parents[4] / "docs" / "interoperation.md").read_text()
    assert f"another one calls again after {calls.lease_seconds():.0f} seconds" in page


def test_a_webhook_that_the_worker_sent_itself_is_not_sent_again(flow: Flow) -> None:
    made = altered(flow, lambda suspension: suspension["interactions"][0].update(transportType="webhook"))
    assert made.status == "WAITING_EXTERNAL"
    assert not webhooks.send()


def test_a_timer_resumes_with_its_request(flow: Flow) -> None:
    made = left(flow, "timer")
    question = Interaction.objects.get(execution=made)
    make_late(question)
    expire()
    made.refresh_from_db()
    assert (made.status, made.progress) == ("QUEUED", question.request)


@cases(("transport", "metadata"), [("webhook", {}), ("webhook", {"url": "file:///x"})])
def test_a_webhook_that_cannot_be_sent_fails_the_execution(
    flow: Flow, transport: str, metadata: dict[str, Any]
) -> None:
    made = left(flow, transport, **metadata)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")


def test_interactions_of_other_transports_are_left_to_the_worker(flow: Flow) -> None:
    made = altered(flow, lambda suspension: suspension["interactions"][0].update(transportType="kafka"))
    question = Interaction.objects.get(execution=made)
    assert (question.transport, question.status) == ("kafka", "DISPATCHED")
    interactions.complete(flow.owner, correlation_id=question.correlation_id, response=DECISION, actor="bridge")
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"
