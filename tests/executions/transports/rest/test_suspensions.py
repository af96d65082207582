"""How the suspensions of REST workers are imported."""

import base64
import json
import uuid
from ipaddress import ip_network
from typing import Any

from django.utils import timezone

from executions.awaits import questions, webhooks
from executions.awaits.awaits import expire
from executions.lifecycle.interventions import redrive
from executions.models import AwaitUnit, Execution, Interaction
from tests.cases import cases
from tests.executions.awaits.parking import make_late
from tests.executions.transports.rest.order_flow import DECISION, FAILED, ORDER, Flow, altered, answered
from tests.executions.transports.rest.strict_worker import DTO, name_uuid
from tests.receiving import receiving

UNANSWERABLE, MALFORMED = ("FAILED", "UNANSWERABLE_SUSPENSION"), ("WAIT_RETRY", FAILED)
UNSETTLED = ("WAIT_RETRY", "COMMAND_UNSETTLED")
LEFT = {"status": "WAITING", "version": 0}
"""An interaction that the worker leaves to the coordinator."""


def change(suspension: dict[str, Any], place: str, members: dict[str, Any]) -> None:
    """Change members of the suspension, of a part of it, or of all parts that have them."""
    unit, questions = suspension["unit"], suspension["interactions"]
    parts = {"suspension": [suspension], "unit": [unit], "interaction": questions}
    for part in parts.get(place, [suspension, unit, *questions]):
        part.update({name: value for name, value in members.items() if place != "all" or name in part})


@cases(
    ("place", "members", "expected"),
    ("suspension", {"unit": None}, UNANSWERABLE),
    ("unit", {"primaryInteractionId": str(uuid.uuid4())}, UNANSWERABLE),
    ("unit", {"status": "TIMED_OUT"}, UNANSWERABLE),
    ("all", {"executionId": str(uuid.uuid4())}, UNANSWERABLE),
    ("all", {"tenantId": "another"}, UNANSWERABLE),
    ("interaction", {"status": "EXPIRED"}, UNANSWERABLE),
    ("interaction", {"deadlineEpochMs": 10**17}, UNANSWERABLE),
    ("interaction", {**LEFT, "transportType": "webhook", "transportMetadata": {"url": "file:///x"}}, UNANSWERABLE),
    ("interaction", {"status": "COMPLETION_OBSERVED"}, UNSETTLED),
    ("unit", {"expectedItemCount": 1, "completedItemCount": 2}, MALFORMED),
    ("interaction", {"outputType": " "}, MALFORMED),
    ("interaction", {"status": "LOST"}, MALFORMED),
)
def test_a_bad_suspension_opens_no_interaction(flow: Flow, place: str, members: Any, expected: tuple[str, str]) -> None:
    made = altered(flow, lambda suspension: change(suspension, place, members))
    assert (made.status, made.error_code) == expected
    assert ("malformed JSON" in (made.error_message or "")) is (expected == MALFORMED)
    assert not Interaction.objects.filter(execution=made).exists()


def test_an_id_that_is_not_a_uuid_is_mapped_to_one_and_a_durable_payload_is_unwrapped(flow: Flow) -> None:
    fingerprints = {"typeExpressionFingerprint": "f", "catalogFingerprint": "c"}
    encoded = {"encoding": "application/tpf-canonical+json", "encodingVersion": 1}
    payload = base64.b64encode(b'{"orderId": "o1"}').decode()
    wrapped = {"canonicalTypeId": "Pending", **fingerprints, **encoded, "payload": payload}
    sent: dict[str, Any] = {}

    def alter(suspension: Any) -> None:
        change(suspension, "unit", {"primaryInteractionId": "int-1"})
        change(suspension, "interaction", {"interactionId": "int-1", "requestPayload": wrapped})
        sent.update(*suspension["interactions"])

    question = Interaction.objects.get(execution=altered(flow, alter))
    assert str(question.pk) == name_uuid(f"{flow.owner.slug}:interaction:int-1")
    assert (question.request, question.correlation_id) == ({"orderId": "o1"}, sent["correlationId"])
    assert int(question.deadline.timestamp() * 1000) == sent["deadlineEpochMs"]


def test_a_completed_unit_resumes_the_execution_at_once(flow: Flow) -> None:
    def alter(suspension: Any) -> None:
        change(suspension, "unit", {"status": "COMPLETED", "completedItemCount": 0})
        change(suspension, "interaction", {"status": "COMPLETED", "responsePayload": DECISION, "actor": "bridge"})

    made = altered(flow, alter)
    assert made.status == "SUCCEEDED"
    assert Interaction.objects.get(execution=made).actor == "bridge"
    assert json.loads(flow.double.commands[-1]["payload"]) == DECISION


def timed_out(flow: Flow) -> tuple[Interaction, dict[str, Any]]:
    """Return the interaction of an await that timed out, and the suspension that the worker repeats."""
    sent: list[dict[str, Any]] = []

    def suspend(command: Any) -> Any:
        sent.append(flow.double.suspend(command, ORDER))
        return sent[0]

    made = flow.run(suspend, suspend)
    first = Interaction.objects.select_related("execution").get(execution=made)
    make_late(first)
    expire()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "AWAIT_TIMEOUT")
    return first, sent[0]["awaitSuspension"]


def redriven(flow: Flow, made: Execution) -> Execution:
    redrive(flow.owner, made.pk, actor="user:test", reason="ask again", allow_failed=True)
    return flow.advance(made)


def test_a_redriven_await_gets_new_ids_if_the_worker_repeats_the_old_ones(flow: Flow) -> None:
    """A worker that still stores its old interaction sends it again."""
    first, suspension = timed_out(flow)
    [old] = suspension["interactions"]
    for moment in ("createdAtEpochMs", "deadlineEpochMs"):
        old[moment] -= 7 * 24 * 3600 * 1000
    made = redriven(flow, first.execution)
    assert made.status == "WAITING_EXTERNAL", made.error_message
    assert AwaitUnit.objects.filter(execution=made).count() == 2
    second = Interaction.objects.get(execution=made, status="DISPATCHED")
    assert second.pk != first.pk
    assert second.deadline > timezone.now()
    answered(flow, second)
    assert flow.advance(made).status == "SUCCEEDED"


def test_a_redriven_await_resumes_with_the_workers_answer(flow: Flow) -> None:
    first, suspension = timed_out(flow)
    change(suspension, "unit", {"status": "COMPLETED"})
    change(suspension, "interaction", {"status": "COMPLETED", "responsePayload": DECISION})
    made = redriven(flow, first.execution)
    assert made.status == "SUCCEEDED", made.error_message
    first.refresh_from_db()
    assert (first.status, first.response) == ("TIMED_OUT", None)


def sent_over(flow: Flow, transport: str, **members: Any) -> tuple[Execution, Interaction]:
    members = {"transportType": transport, **members}
    made = altered(flow, lambda suspension: change(suspension, "interaction", members))
    assert made.status == "WAITING_EXTERNAL", made.error_message
    return made, Interaction.objects.get(execution=made)


def test_a_webhook_that_the_worker_did_not_send_is_sent(flow: Flow, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    with receiving() as receiver:
        made, _ = sent_over(flow, "webhook", **LEFT, transportMetadata={"url": receiver.url()})
        assert webhooks.OUTBOX.send()
        [sent] = receiver.requests
    assert sent.json["outputType"] == DTO + "RestaurantDecisionDto"
    questions.resume(sent.json["resumeToken"], response=DECISION, actor="erp")
    assert flow.advance(made).status == "SUCCEEDED"


def test_an_interaction_that_the_worker_sent_is_left_to_it(flow: Flow) -> None:
    made, question = sent_over(flow, "webhook")
    assert (question.transport, question.status) == ("webhook", "DISPATCHED")
    assert not webhooks.OUTBOX.send()
    questions.answer(flow.owner, correlation_id=question.correlation_id, response=DECISION, actor="bridge")
    assert flow.advance(made).status == "SUCCEEDED"
