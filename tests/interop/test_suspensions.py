"""Suspensions of REST workers over `/tpf`: unsupported ones, and ids that the worker chose."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from executions.awaits import awaits, interactions
from executions.errors import CorrelationAmbiguous
from executions.models import Execution, Interaction
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow, altered
from tests.executions.transports.rest.strict_worker import DTO
from tests.interop.client import call, ok, payload, refused, switch_on

DECISION_TYPE = DTO + "RestaurantDecisionDto"
DECISION = {"accepted": {"orderId": str(uuid.uuid4()), "note": "ok"}}
PROJECTOR = "tpf.await.completion.projector"
Change = Callable[[dict[str, Any]], Any]


def suspended(flow: Flow, change: Change, key: str = "k") -> Execution:
    """Return an execution after its worker suspended it. `change` modifies the suspension."""

    def suspend(command: Any) -> Any:
        answer = flow.double.suspend(command, ORDER)
        change(answer["awaitSuspension"])
        return answer

    flow.double.answers = [suspend]
    made = making.execution(flow.owner, key, ORDER, PIPELINE)
    flow.dispatch()
    made.refresh_from_db()
    return made


def of_interaction(**members: Any) -> Change:
    return lambda suspension: suspension["interactions"][0].update(members)


@cases(
    ("change", "named"),
    [
        (of_interaction(transportMetadata={PROJECTOR: "com.acme.Decide"}), "the completion projector com.acme.Decide"),
        (of_interaction(transportOutputType="com.acme.Decision"), f"from com.acme.Decision to {DECISION_TYPE}"),
    ],
)
def test_an_unsupported_suspension_fails_at_once(flow: Flow, change: Change, named: str) -> None:
    made = suspended(flow, change)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert named in str(made.error_message)
    assert not Interaction.objects.filter(execution=made).exists()


def correlated(flow: Flow, key: str) -> Interaction:
    made = suspended(flow, of_interaction(correlationId="order-1"), key)
    assert made.status == "WAITING_EXTERNAL", made.error_message
    return made.interactions.get()


def complete(flow: Flow, **named: Any) -> interactions.Completion:
    return interactions.complete(flow.owner, response=DECISION, actor="user:eva", **named)


def test_an_ambiguous_correlation_id_answers_no_interaction_but_an_id_does(flow: Flow, settings: Any) -> None:
    switch_on(settings)
    one, other = correlated(flow, "one"), correlated(flow, "other")
    with pytest.raises(CorrelationAmbiguous) as caught:
        complete(flow, correlation_id="order-1")
    assert set(caught.value.data["interactionIds"]) == {str(one.pk), str(other.pk)}

    body = {"correlationId": "order-1", "responsePayload": payload(DECISION_TYPE, DECISION)}
    answer = call("POST", f"control-plane/tenants/{flow.owner.slug}/interactions/complete", body)
    assert refused(answer) == (409, caught.value.detail)
    assert set(Interaction.objects.values_list("status", flat=True)) == {"DISPATCHED"}

    assert complete(flow, interaction_id=one.pk, correlation_id="order-1").interaction == one
    # A client that repeats its answer to the first one must not answer the second one.
    with pytest.raises(CorrelationAmbiguous):
        complete(flow, correlation_id="order-1")
    assert complete(flow, interaction_id=other.pk).interaction == other


def test_the_ids_of_a_worker_are_returned_unchanged(flow: Flow, settings: Any) -> None:
    """The worker's token contains its ids. An answer may have a type that only the await names (F.3, F.4)."""
    switch_on(settings)

    def change(suspension: Any) -> None:
        suspension["unitId"] = suspension["unit"]["unitId"] = suspension["interactions"][0]["unitId"] = "unit-1"
        suspension["unit"]["primaryInteractionId"] = suspension["interactions"][0]["interactionId"] = "int-1"
        suspension["interactions"][0].update(outputType="com.acme.Decision", transportOutputType="com.acme.Decision")

    made = altered(flow, change)
    base = f"control-plane/tenants/{flow.owner.slug}/interactions"
    assert made.await_units.get().worker_name == "unit-1"
    [item] = ok("GET", f"{base}/pending")
    assert item["interactionId"] == "int-1"
    token = awaits.resume_token_of(made.interactions.get(), issued_at=timezone.now())
    assert token.interaction_id == "int-1"
    answer = {
        "resumeToken": token.sign(awaits.resume_secrets()[0]),
        "responsePayload": payload("com.acme.Decision", DECISION),
    }
    assert ok("POST", f"{base}/complete", answer)["interactionId"] == "int-1"
    repeated = ok("POST", f"{base}/complete", {**answer, "resumeToken": "", "interactionId": "int-1"})
    assert (repeated["interactionId"], repeated["duplicate"]) == ("int-1", True)
    flow.dispatch()
    assert flow.double.commands[-1]["payloadTypeId"] == "com.acme.Decision"
