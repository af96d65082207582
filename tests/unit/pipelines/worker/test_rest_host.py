"""The responses of a worker over HTTP. It checks the sender, then the identity, then the payload (wire protocol D)."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from examples.orders.pipeline import pipeline as orders
from pipelines.authoring.compiler import compile_contract
from pipelines.worker import outcomes, rest_host
from pipelines.worker.hosted_release import HostedRelease
from pipelines.worker.rest_host import Crowded, Nonces, RestHost
from pipelines.worker.rest_worker import IDLE_SECONDS, Server
from tests.http_server import in_a_thread
from wire.identity import ReleaseIdentity

SECRET = "worker-secret"
EXECUTE, CAPABILITIES = "/pipeline/worker/transitions/execute", "/pipeline/worker/capabilities"
ENCODING = "application/tpf-transition+json"
SNAPSHOT = "org.pipelineframework.orchestrator.ExecutionInputSnapshot"
CONTRACT = compile_contract(orders)["contractVersion"]
IDENTITY = ReleaseIdentity("acme", orders.pipeline_id, CONTRACT, "1.0")
TYPES = "examples.orders.pipeline."
EXECUTION = "9c485e0a-c86a-4657-9a8c-01efde1759a5"
ORDER = {"request_id": "r1", "customer": "eva", "lines": [{"dish": "soup", "quantity": 2, "price": "4.50"}]}


@pytest.fixture
def host() -> RestHost:
    return RestHost(HostedRelease(orders, IDENTITY, "app", "sha256:1"), secret=SECRET)


def signed(method: str, path: str, body: bytes, **changes: str) -> dict[str, str]:
    """Return the headers of a request, computed from the protocol without product code."""
    headers = {
        "X-TPF-Worker-Timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "X-TPF-Worker-Nonce": str(uuid.uuid4()),
        **{name: value for name, value in changes.items() if name.startswith("X-")},
    }
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"{method}\n{path}\n{headers['X-TPF-Worker-Timestamp']}\n{headers['X-TPF-Worker-Nonce']}\n{digest}"
    signature = hmac.new(changes.get("secret", SECRET).encode(), canonical.encode(), hashlib.sha256).hexdigest()
    return {"X-TPF-Worker-Signature": signature, **headers}


def payload(type_id: str, value: Any) -> dict[str, str]:
    return {"payloadTypeId": type_id, "payloadEncoding": ENCODING, "payload": json.dumps(value)}


def uni(value: Any, type_id: str = TYPES + "OrderRequest") -> dict[str, str]:
    return payload(SNAPSHOT, {"shape": "UNI", "payload": payload(type_id, value), "items": []})


def command(given: dict[str, str], **members: Any) -> dict[str, Any]:
    return {
        "tenantId": "acme",
        "executionId": EXECUTION,
        "pipelineId": orders.pipeline_id,
        "contractVersion": CONTRACT,
        "releaseVersion": "1.0",
        "currentStepIndex": 0,
        "stopBeforeStepIndex": -1,
        "attempt": 0,
        "resultShape": "SINGLE",
        "executionVersion": 1,
        "transitionKey": f"{EXECUTION}:0:0",
        "traceId": f"{EXECUTION}:0:0",
        **given,
        **members,
    }


def posted(host: RestHost, document: Any) -> tuple[int, Any]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    status, answer = host.respond("POST", EXECUTE, signed("POST", EXECUTE, body), body)
    return status, json.loads(answer) if answer else None


def ran(host: RestHost, given: dict[str, str], **members: Any) -> Any:
    status, answer = posted(host, command(given, **members))
    assert status == 200
    assert set(answer) == {
        "outcome", "outputPayloads", "awaitSuspension", "failure", "terminalOutputPublished",
        "terminalInputPassthrough",
    }  # fmt: skip
    return answer


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


def test_a_request_without_a_valid_signature_is_refused(host: RestHost) -> None:
    for changes in (
        {"X-TPF-Worker-Nonce": "  "},
        {"X-TPF-Worker-Timestamp": ""},
        {"X-TPF-Worker-Timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat()},
        {"X-TPF-Worker-Timestamp": ago(days=1)},
        {"X-TPF-Worker-Timestamp": ago(days=-1)},
        {"secret": "another"},
    ):
        assert host.respond("GET", CAPABILITIES, signed("GET", CAPABILITIES, b"", **changes), b"") == (401, b"")


def test_the_signature_covers_the_method_the_path_and_the_body(host: RestHost) -> None:
    body = json.dumps(command(uni(ORDER))).encode()
    headers = signed("POST", EXECUTE, body)
    assert host.respond("POST", EXECUTE, headers, body + b" ") == (401, b"")
    assert host.respond("GET", CAPABILITIES, headers, body) == (401, b"")
    lower = {name.lower(): value for name, value in headers.items()}
    assert host.respond("POST", EXECUTE, lower, body)[0] == 200


def test_a_nonce_is_accepted_once_for_both_paths(host: RestHost) -> None:
    nonce = {"X-TPF-Worker-Nonce": "one"}
    body = json.dumps(command(uni(ORDER))).encode()
    wrong = {**signed("GET", CAPABILITIES, b"", **nonce), "X-TPF-Worker-Signature": "0" * 64}
    assert host.respond("GET", CAPABILITIES, wrong, b"")[0] == 401
    assert host.respond("GET", CAPABILITIES, signed("GET", CAPABILITIES, b"", **nonce), b"")[0] == 200
    assert host.respond("POST", EXECUTE, signed("POST", EXECUTE, body, **nonce), body)[0] == 401


def test_a_nonce_is_known_while_its_request_is_fresh_and_none_is_forgotten_for_another(
    host: RestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_host, "MOST_NONCES", 10)
    nonces, now = Nonces(timedelta(minutes=2)), datetime.now(UTC)
    assert all(nonces.is_new(str(number), now + timedelta(seconds=number), now) for number in range(10))
    for seconds in (0, 61, 120):
        assert not nonces.is_new("0", now, now + timedelta(seconds=seconds)), seconds
        with pytest.raises(Crowded):
            nonces.is_new("more", now, now + timedelta(seconds=seconds))
    later = now + timedelta(seconds=121)
    assert nonces.is_new("more", later, later), "the request of the oldest nonce is no longer accepted"
    assert not nonces.is_new("1", later, later)
    monkeypatch.setattr(rest_host, "MOST_NONCES", 1)
    with listening(host) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}{CAPABILITIES}"
        answers = [requests.get(url, headers=signed("GET", CAPABILITIES, b""), timeout=10) for _ in range(2)]
    assert [(each.status_code, each.headers.get("Retry-After")) for each in answers] == [(200, None), (503, "10")]


def test_a_command_that_differs_in_one_part_of_the_identity_fails_before_its_payload_is_read(host: RestHost) -> None:
    for part in ("pipelineId", "contractVersion", "releaseVersion"):
        answer = ran(host, payload("com.acme.Nothing", 1), **{part: "another"})
        assert answer["failure"]["failureClass"] == "java.lang.IllegalArgumentException"
        assert f"{part}=another" in answer["failure"]["message"]


def test_a_failure_that_must_not_be_retried_has_the_class_of_the_protocol(host: RestHost) -> None:
    answer = ran(host, uni({**ORDER, "lines": []}))
    assert answer["failure"]["failureClass"] == "org.pipelineframework.step.NonRetryableException"
    assert answer["failure"]["message"].endswith('step "Validate order": order r1 names no dish')


def test_a_result_that_the_coordinator_would_not_read_is_a_failure(
    host: RestHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "LONGEST_OUTCOME", 1000)
    answer = ran(host, uni({**ORDER, "customer": "x" * 1000}), stopBeforeStepIndex=0)
    assert "OUTPUT_TOO_LARGE: the outcome has" in answer["failure"]["message"]


def test_a_bare_list_is_a_stream_of_its_items(host: RestHost) -> None:
    decisions = [{"order_id": str(uuid.uuid4()), "accepted": each, "note": ""} for each in (True, False)]
    items = [payload(TYPES + "Decision", each) for each in decisions]
    answer = ran(host, payload("java.util.List", {"items": items}), currentStepIndex=3)
    assert [json.loads(each["payload"])["state"] for each in answer["outputPayloads"]] == ["ACCEPTED", "REJECTED"]


def test_it_suspends_at_an_await(host: RestHost) -> None:
    answer = ran(host, uni(ORDER))
    assert (answer["outcome"], answer["outputPayloads"], answer["failure"]) == ("WAITING_EXTERNAL", [], None)
    suspension = answer["awaitSuspension"]
    unit, [interaction] = suspension["unit"], suspension["interactions"]
    step_id = "ProcessAwaitRestaurantDecisionService"
    name = hashlib.md5(f"acme:{EXECUTION}:{step_id}:2".encode()).digest()
    assert unit["unitId"] == suspension["unitId"] == interaction["unitId"] == str(uuid.UUID(bytes=name, version=3))
    assert unit["primaryInteractionId"] == interaction["interactionId"]
    assert (suspension["stepIndex"], unit["stepId"], interaction["outputType"]) == (2, step_id, TYPES + "Decision")
    assert interaction["requestPayload"]["dishes"] == ["soup"]
    assert interaction["requestPayload"]["total"] == "9.00"
    assert interaction["deadlineEpochMs"] - interaction["createdAtEpochMs"] == 30 * 60 * 1000
    again = ran(host, uni(ORDER))["awaitSuspension"]
    assert again["interactions"][0]["correlationId"] == interaction["correlationId"]


@contextmanager
def listening(host: RestHost, capacity: int = 1) -> Iterator[Server]:
    """Serve the host on a free port."""
    server = Server("127.0.0.1:0", host, capacity=capacity)
    with in_a_thread(server):
        yield server


def test_it_serves_over_http(host: RestHost) -> None:
    with listening(host) as server:
        handler: Any = server.RequestHandlerClass
        assert handler.timeout == IDLE_SECONDS, "a caller that sends nothing is hung up on"
        url = f"http://127.0.0.1:{server.server_address[1]}"
        response = requests.get(url + CAPABILITIES, headers=signed("GET", CAPABILITIES, b""))
        assert response.status_code == 200
        expected = {"contractVersion": CONTRACT, "releaseVersion": "1.0", "artifactDigest": "sha256:1"}
        assert response.json().items() >= expected.items()
        body = json.dumps(command(uni(ORDER))).encode()
        answer = requests.post(url + EXECUTE, data=body, headers=signed("POST", EXECUTE, body))
        assert (answer.status_code, answer.json()["outcome"]) == (200, "WAITING_EXTERNAL")
        assert answer.headers["Content-Type"] == "application/json"
        assert requests.post(url + EXECUTE, data=body).status_code == 401
        assert requests.get(url + "/").status_code == 404
        assert requests.post(url + EXECUTE, data=iter([body])).status_code == 411
        too_long = requests.Request("POST", url + EXECUTE, data=b"x").prepare()
        too_long.headers["Content-Length"] = str(10**12)
        assert requests.Session().send(too_long, timeout=10).status_code == 413
        assert requests.get(url + "/q/health/live", timeout=10).json()["status"] == "UP"
        with server.turns:
            assert requests.get(url + "/q/health/live", timeout=10).json()["status"] == "UP", "every thread is busy"
