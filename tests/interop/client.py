"""A client of the compatibility surface, based on Django's test client."""

import json
from typing import Any

from django.test import Client

from tests.executions.transports.rest.strict_worker import ENCODING

ADMIN, CONTROL = "admin-token", "control-token"


def switch_on(settings: Any) -> None:
    settings.TPF_ADMIN_ENABLED = settings.TPF_CONTROL_PLANE_ENABLED = True
    settings.TPF_ADMIN_TOKEN, settings.TPF_CONTROL_PLANE_TOKEN = ADMIN, CONTROL
    settings.STATIC_ROOT.mkdir(exist_ok=True)


def call(method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str) -> Any:
    """Call `path` below `/tpf/` and return the response. The default token is that of its surface."""
    own = ADMIN if path.startswith("admin") else CONTROL
    sent = {"Authorization": f"Bearer {own if token is None else token}", **headers}
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
