"""A release of the order flow, hosted by the strict worker, and its executions."""

import uuid
from dataclasses import dataclass
from typing import Any

from executions.awaits import interactions
from executions.lifecycle import rest_calls as rest_dispatch
from executions.models import Execution, Interaction, Worker
from executions.submission import admission
from executions.transports.rest import capabilities, transport
from executions.workers.registry import REST
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.hosting import LONG_AGO
from tests.executions.transports.rest.strict_worker import DTO, StrictWorker

PIPELINE = "org.pipelineframework.restaurantapproval"
ORDER = {"requestId": "r1", "customerId": "c1", "amount": 27.5}
ORDER_TYPE = DTO + "PlaceRestaurantOrderRequestDto"
FAILED = "TransitionWorkerFailureException"
DECISION = {"accepted": {"orderId": str(uuid.uuid4()), "note": "ok"}}


@dataclass
class Flow:
    """An active release of the order flow, and the worker that is registered for it."""

    owner: Tenant
    release: Release
    double: StrictWorker
    worker: Worker

    def check(self) -> None:
        """Check the worker as a control worker does."""
        capabilities.check(self.worker.pk)
        admission.cache.clear()

    def dispatch(self) -> int:
        """Claim due executions, send the claims, and call the worker, as dispatch and its tasks do.

        Return the number of calls.
        """
        called = 0
        while claims := making.claimed(self.owner):
            assert {claim.protocol for claim in claims} == {REST}
            assert transport.send(claims) == []
            for claim in claims:
                assert rest_dispatch.run(claim.execution_id, claim.lease_token)
                called += 1
        return called


def submit(flow: Flow, key: str = "k", **order: Any) -> Execution:
    return making.execution(flow.owner, key, {**ORDER, **order}, PIPELINE)


def parked(flow: Flow, **order: Any) -> tuple[Execution, Interaction]:
    made = submit(flow, **order)
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL", (made.error_code, made.error_message)
    return made, Interaction.objects.get(execution=made)


def answered(flow: Flow, question: Interaction, decision: Any = None) -> None:
    interactions.complete(flow.owner, interaction_id=question.pk, response=decision or DECISION, actor="user:eva")


def run_out(flow: Flow, made: Execution) -> Execution:
    """Return the execution when it has failed permanently."""
    for _ in range(10):
        Execution.objects.filter(pk=made.pk, status="WAIT_RETRY").update(next_due_at=LONG_AGO)
        flow.dispatch()
        made.refresh_from_db()
        if made.status not in {"QUEUED", "WAIT_RETRY"}:
            return made
    raise AssertionError(made.status)


def misbehaved(flow: Flow, fault: str) -> tuple[str | None, str | None]:
    flow.double.faults = [fault]
    made = submit(flow)
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert (made.status, made.attempt) == ("WAIT_RETRY", 1)
    return made.error_code, (made.error_message or "").replace(str(made.pk), "ID")


def altered(flow: Flow, change: Any) -> Execution:
    """Return an execution after its worker suspended it. `change` modifies the suspension."""

    def suspend(command: Any) -> Any:
        answer = flow.double.suspend(command, ORDER)
        change(answer["awaitSuspension"])
        return answer

    flow.double.answers = [suspend]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    return made
