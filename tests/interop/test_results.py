"""Status and results over `/tpf/control-plane` (wire protocol C.2, C.3)."""

import pytest

from executions.lifecycle.cancellation import cancel
from executions.models import Execution
from tests.executions.transports.rest.order_flow import Flow
from tests.executions.transports.rest.strict_worker import DTO, ENCODING
from tests.interop.client import ok, payload
from tests.interop.submitting import DECISION, DECISION_TYPE, accepted, place

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


def test_a_cancelled_execution_is_reported_as_failed(flow: Flow) -> None:
    made = accepted(flow.owner)
    cancel(flow.owner, made.pk, actor="user:test", reason="no")
    status = ok("GET", place(flow.owner, f"executions/{made.pk}"))
    assert (status["status"], status["errorCode"]) == ("FAILED", "CANCELLED")
