"""Requests of a coordinator to a worker over HTTP, computed from the protocol without product code."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pipelines.worker.rest_host import RestHost
from pipelines.worker.rest_worker import Server
from tests.http_server import in_a_thread
from wire.identity import ReleaseIdentity

SECRET = "worker-secret-of-acme"
EXECUTE, CAPABILITIES = "/pipeline/worker/transitions/execute", "/pipeline/worker/capabilities"
ENCODING = "application/tpf-transition+json"
EXECUTION = "9c485e0a-c86a-4657-9a8c-01efde1759a5"


def signed(method: str, path: str, body: bytes, **changes: str) -> dict[str, str]:
    """Return the headers of a request."""
    headers = {
        "X-TPF-Worker-Timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "X-TPF-Worker-Nonce": str(uuid.uuid4()),
        **changes,
    }
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"{method}\n{path}\n{headers['X-TPF-Worker-Timestamp']}\n{headers['X-TPF-Worker-Nonce']}\n{digest}"
    signature = hmac.new(SECRET.encode(), canonical.encode(), hashlib.sha256).hexdigest()
    return {"X-TPF-Worker-Signature": signature, **headers}


def payload(type_id: str, value: Any) -> dict[str, str]:
    return {"payloadTypeId": type_id, "payloadEncoding": ENCODING, "payload": json.dumps(value)}


def pin(identity: ReleaseIdentity) -> dict[str, str]:
    return {
        "pipelineId": identity.pipeline_id,
        "contractVersion": identity.contract_version,
        "releaseVersion": identity.release_version,
    }


def command(identity: ReleaseIdentity, envelope: dict[str, str], **members: Any) -> bytes:
    sent = {
        **{"tenantId": "acme", "executionId": EXECUTION, "executionVersion": 1, **pin(identity)},
        **{"currentStepIndex": 0, "stopBeforeStepIndex": -1, "attempt": 0, "resultShape": "SINGLE"},
        **dict.fromkeys(["transitionKey", "traceId"], f"{EXECUTION}:0:0"),
        **envelope,
        **members,
    }
    return json.dumps(sent).encode()


def executed(host: RestHost, body: bytes, **headers: str) -> Any:
    """Return the answer to a command that the host accepts."""
    status, text = host.respond("POST", EXECUTE, {**signed("POST", EXECUTE, body), **headers}, body)
    assert status == 200
    return json.loads(text)


@contextmanager
def listening(host: RestHost, capacity: int = 1) -> Iterator[tuple[Server, str]]:
    """Yield a server of `host`, and its URL."""
    server = Server("127.0.0.1:0", host, capacity=capacity)
    with in_a_thread(server):
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
