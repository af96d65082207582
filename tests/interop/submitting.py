"""Submits executions of the order flow over `/tpf/control-plane`."""

import uuid
from typing import Any

from executions.models import Execution
from tenancy.models import Tenant
from tests.executions.transports.rest.order_flow import ORDER, ORDER_TYPE, PIPELINE
from tests.executions.transports.rest.strict_worker import DTO
from tests.interop.client import call, payload

DECISION = {"accepted": {"orderId": str(uuid.uuid4()), "note": "ok"}}
DECISION_TYPE = DTO + "RestaurantDecisionDto"
LIST = "java.util.List"
NO_WORKER = "No worker available for active release: "


def place(owner: Tenant, path: str = "executions") -> str:
    return f"control-plane/tenants/{owner.slug}/{path}"


def order(key: str | None = "k", **changes: Any) -> dict[str, Any]:
    body = {"pipelineId": PIPELINE, "inputShape": "UNI", "inputPayload": payload(ORDER_TYPE, ORDER)}
    return {**body, "idempotencyKey": key, "outputStreaming": False, **changes}


def submit(owner: Tenant, body: Any = None) -> Any:
    return call("POST", place(owner), order() if body is None else body)


def accepted(owner: Tenant, body: Any = None) -> Execution:
    answer = submit(owner, body)
    assert answer.status_code == 200, answer.content
    return Execution.objects.get(pk=answer.json()["executionId"])


def mapping(**members: dict[str, str]) -> dict[str, str]:
    return payload("java.util.Map", {"items": members})
