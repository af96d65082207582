"""A client of the compatibility surface, based on Django's test client: registers releases and submits orders."""

import json
import uuid
from pathlib import Path
from typing import Any

from django.test import Client

from executions.models import Execution
from tenancy.models import Tenant
from tests import making
from tests.executions.transports.rest.order_flow import ORDER, ORDER_TYPE, PIPELINE
from tests.executions.transports.rest.strict_worker import DTO, ENCODING

ADMIN, CONTROL = "admin-token", "control-token"


def switch_on(settings: Any) -> None:
    settings.TPF_ADMIN_ENABLED = settings.TPF_CONTROL_PLANE_ENABLED = True
    settings.TPF_ADMIN_TOKEN, settings.TPF_CONTROL_PLANE_TOKEN = ADMIN, CONTROL
    settings.STATIC_ROOT.mkdir(exist_ok=True)


def call(method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Any:
    """Call `path` below `/tpf/` and return the response. The default token is that of its surface."""
    default = ADMIN if path.startswith("admin") else CONTROL
    sent = {"Authorization": f"Bearer {default if token is None else token}", **headers}
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Client().generic(method, f"/tpf/{path}", data, content_type="application/json", headers=sent)


def ok(method: str, path: str, body: Any = None) -> Any:
    answer = call(method, path, body)
    assert answer.status_code == 200, (answer.status_code, answer.content)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def refused(answer: Any) -> tuple[int, str]:
    """Return the status and the text of an error response."""
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.content.decode()


def payload(type_id: str, value: Any) -> dict[str, str]:
    return {"payloadTypeId": type_id, "payloadEncoding": ENCODING, "payload": json.dumps(value)}


def base(owner: Tenant) -> str:
    return f"admin/tenants/{owner.slug}/pipelines/{making.PIPELINE}"


def written(
    root: Path,
    version: str = "sha256:abc",
    kind: str = "jar",
    uri: str = "",
    contract: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a descriptor and its artifact to `root`. Return the path of the descriptor."""
    contract = contract or making.contract()
    data = making.archive(contract, code=version)
    jar = root / "app.jar"
    jar.write_bytes(data)
    document = making.descriptor(contract, data, version, kind)
    document["artifacts"][0]["uri"] = uri or jar.as_uri()
    document.update(more)
    path = root / "pipeline-release.json"
    path.write_text(json.dumps(document))
    return path


def register(owner: Tenant, path: Path | str) -> Any:
    return call("POST", f"{base(owner)}/releases/register", {"releaseDescriptorPath": str(path)})


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
