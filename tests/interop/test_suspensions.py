"""Suspensions of REST workers over `/tpf`: unsupported ones, and ids that the worker chose."""

from collections.abc import Callable
from typing import Any

import pytest

from executions.awaits import interactions
from executions.errors import CorrelationAmbiguous
from executions.models import Execution, Interaction
from tests import making
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.interop.client import call, payload, refused, switch_on
from tests.interop.submitting import DECISION, DECISION_TYPE

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
