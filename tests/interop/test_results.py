"""Status and results over `/tpf/control-plane` (wire protocol C.2, C.3)."""

import json
from typing import Any

import pytest

from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.models import Execution
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.transports.rest.order_flow import Flow
from tests.executions.transports.rest.strict_worker import DTO, ENCODING
from tests.interop.client import call, ok, payload, refused
from tests.interop.submitting import DECISION, DECISION_TYPE, LIST, accepted, mapping, order, place
from wire.messages.celery_messages import OutcomeGroup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]


def decided(flow: Flow) -> Execution:
    made = accepted(flow.owner)
    flow.dispatch()
    [question] = ok("GET", place(flow.owner, "interactions/pending"))
    answer = {"interactionId": question["interactionId"], "responsePayload": payload(DECISION_TYPE, DECISION)}
    ok("POST", place(flow.owner, "interactions/complete"), answer)
    flow.dispatch()
    made.refresh_from_db()
    return made


def test_the_status_of_a_waiting_execution(flow: Flow) -> None:
    path = place(flow.owner, f"executions/{accepted(flow.owner).pk}")
    assert ok("GET", path)["status"] == "QUEUED"
    flow.dispatch()
    waiting = ok("GET", path)
    assert (waiting["status"], waiting["stepIndex"], waiting["version"]) == ("WAITING_EXTERNAL", 2, 2)
    assert waiting["nextDueAtEpochMs"] == 2**63 - 1
    assert ok("GET", f"{path}/result") == {"status": waiting, "resultPayload": None}


def test_a_result_is_returned_unchanged(flow: Flow) -> None:
    made = decided(flow)
    response = ok("GET", place(flow.owner, f"executions/{made.pk}/result"))
    assert (response["status"]["status"], response["status"]["stepIndex"]) == ("SUCCEEDED", 3)
    order_id = DECISION["accepted"]["orderId"]
    assert response["resultPayload"] == {
        "payloadTypeId": DTO + "TerminalOrderStateDto",
        "payloadEncoding": ENCODING,
        "payload": f'{{ "state":"ACCEPTED",  "orderId":"{order_id}", "total":27.50 }}',
    }


def celery(owner: Tenant, release: Release, body: dict[str, Any], *outputs: str) -> Any:
    """Return the result of an execution that a Celery worker has completed."""
    made = accepted(owner, body)
    [claim] = making.claimed(owner)
    done = making.outcome_of(claim, output_payloads=list(outputs))
    assert outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[done])) == 1
    return ok("GET", place(owner, f"executions/{made.pk}/result"))["resultPayload"]


def native(**members: Any) -> tuple[Tenant, Release, dict[str, Any]]:
    owner, release = making.ready(**members)
    body = order(pipelineId=making.PIPELINE, inputPayload=mapping(n=payload("java.lang.Integer", 1)))
    return owner, release, body


def test_the_output_of_a_celery_worker_gets_the_contracts_type(flow: Flow) -> None:
    owner, release, body = native()
    assert celery(owner, release, body, '{"n": 1}') == {**payload("Order", 0), "payload": '{"n":1}'}


def test_several_outputs_are_a_list_and_there_is_none_before_success(flow: Flow) -> None:
    step = {**making.STEP, "cardinality": "ONE_TO_MANY", "outputTypeId": "integer"}
    owner, release, body = native(steps=[step])
    made = accepted(owner, body)
    assert made.result_shape == "MATERIALIZED_MULTI"
    assert ok("GET", place(owner, f"executions/{made.pk}/result"))["resultPayload"] is None
    result = celery(owner, release, body, "1", "2")
    assert result["payloadTypeId"] == LIST
    assert json.loads(result["payload"]) == {"items": [payload("java.lang.Integer", n) for n in (1, 2)]}


def test_a_cancelled_execution_is_reported_as_failed(flow: Flow) -> None:
    made = accepted(flow.owner)
    cancel(flow.owner, made.pk, actor="user:test", reason="no")
    status = ok("GET", place(flow.owner, f"executions/{made.pk}"))
    assert (status["status"], status["errorCode"]) == ("FAILED", "CANCELLED")


def test_an_unknown_execution_is_not_found(flow: Flow) -> None:
    unknown = "nonsense"
    assert refused(call("GET", place(flow.owner, f"executions/{unknown}"))) == (404, "Not Found")
    assert refused(call("GET", place(flow.owner, f"executions/{unknown}/result"))) == (404, "Not Found")
