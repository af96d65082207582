"""The whole journey of clients and workers of three versions of `/tpf`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import making
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, DTO, serving
from tests.interop.client import NO_WORKER, payload, written
from tests.interop.stored import VERSIONS, message, unread
from tests.parts.product.existing_client import PIPELINE, ExistingClient, VersionedWorker
from tests.releases.registration import located
from tests.running import REST_PORT, RunningProduct, eventually
from wire.worker_keys import worker_key

ONE, TWO = "sha256:one", "sha256:two"


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, running: RunningProduct, name: str) -> ExistingClient:
    return ExistingClient(running.product, name, version=request.param)


def contract(version: str) -> dict[str, Any]:
    """Return the contract of the order flow. Since October 2026 its steps name no transport of an await."""
    later = version != "august"
    steps = [{name: step[name] for name in step if not (later and name == "awaitTransport")} for step in CONTRACT_STEPS]
    return making.contract(PIPELINE, steps, transport="REST")


def registered(client: ExistingClient, release: str) -> dict[str, Any]:
    """Register a release from a descriptor of the client's version."""
    folder = Path(client.product.settings["TPF_RELEASE_ROOTS"]) / f"{client.tenant}-{release[-3:]}"
    folder.mkdir(parents=True)
    document = contract(client.version)
    path = written(folder, release, contract=document)
    if client.version != "august":
        jar = folder / "app.jar"
        newer = located.carrier(document, jar.read_bytes(), release, uri=jar.as_uri())
        path.write_text(json.dumps(newer))
    body = client.request("register-release", releaseDescriptorPath=str(path))
    answer = client.ok("POST", "admin/{p}/releases/register", "release", body)
    assert (answer["status"], answer["releaseVersion"]) == ("REGISTERED", release)
    return dict(answer)


def activated(client: ExistingClient, release: str) -> None:
    answer = client.ok("POST", f"admin/{{p}}/releases/{release}/activate", "release")
    assert (answer["status"], answer["releaseVersion"]) == ("ACTIVE", release)
    assert client.ok("GET", "admin/{p}/releases/active", "release")["releaseVersion"] == release


def redriven(client: ExistingClient, dead: Any, name: str = "redrive", **values: Any) -> requests.Response:
    body = client.request(name, expectedVersion=dead["version"], reason="drill", **values)
    return client.call("POST", f"admin/{{t}}/executions/{dead['executionId']}/redrive", body)


@pytest.fixture
def worker(client: ExistingClient) -> Iterator[VersionedWorker]:
    """A release of the order flow is active, and its worker is registered."""
    pin = registered(client, ONE)
    assert client.call("GET", "admin/{p}/releases/active").status_code == 404
    assert [release["releaseVersion"] for release in client.ok("GET", "admin/{p}/releases", "release")] == [ONE]
    assert client.ok("GET", f"admin/{{p}}/releases/{ONE}", "release")["status"] == "REGISTERED"
    activated(client, ONE)
    secret = worker_key(client.product.environment["WORKER_SECRET"], client.tenant).text
    double = VersionedWorker(PIPELINE, pin["contractVersion"], ONE, secret, version=client.version)
    with serving(double, REST_PORT):
        client.register_worker(pin["contractVersion"], ONE, double.endpoint)
        yield double
    assert set(double.statuses) <= {200}, "the worker refused no command"


def test_an_order_runs_to_its_end_across_a_restart_and_another_activation(
    running: RunningProduct, client: ExistingClient, worker: VersionedWorker
) -> None:
    execution_id = client.submit("order-1")
    assert client.submit("order-1") == execution_id
    waiting = client.wait_for(execution_id, "WAITING_EXTERNAL")
    assert (waiting["stepIndex"], waiting["version"], waiting["nextDueAtEpochMs"]) == (2, 2, 2**63 - 1)
    assert client.result(execution_id) is None
    interaction = client.interaction(execution_id)
    assert interaction["requestPayload"]["requestId"] == "r1"

    registered(client, TWO)
    activated(client, TWO)
    refused = client.call("POST", "control-plane/{t}/executions", client.submission("order-2"))
    assert (refused.status_code, refused.text.startswith(NO_WORKER)) == (503, True)
    for process in ("web", "control-worker", "clock"):
        running.kill(process)
    running.restore()

    done = client.decide(execution_id)
    assert (done["status"], done["duplicate"]) == ("COMPLETED", False)
    ended = client.wait_for(execution_id, "SUCCEEDED")
    assert (ended["stepIndex"], ended["version"], ended["attempt"]) == (3, 5, 0)
    assert {command["releaseVersion"] for command in worker.commands} == {ONE}
    assert len(worker.commands) == 2
    assert client.complete(interaction, payload("null", None))["duplicate"] is True
    result = client.result(execution_id)
    assert result["payloadTypeId"] == DTO + "TerminalOrderStateDto"
    assert result["payload"].endswith('"total":27.50 }'), "the payload is as the worker wrote it"

    activated(client, ONE)
    assert client.ok("POST", "admin/{p}/workers/java-1/drain", "worker")["state"] == "DRAINING"
    assert [worker["state"] for worker in client.ok("GET", "admin/{p}/workers", "worker")] == ["DRAINING"]
    assert client.call("POST", "control-plane/{t}/executions", client.submission("order-3")).status_code == 503


def test_an_order_that_fails_is_retried_and_redriven(client: ExistingClient, worker: VersionedWorker) -> None:
    """The incident drill: an invalid decision is accepted, the execution fails, and a re-drive fails too."""
    drilled = client.submit("order-1")
    client.decide(drilled, {"accepted": {"orderId": "nonsense"}})
    dead = client.wait_for(drilled, "FAILED", "DLQ")
    assert (dead["errorCode"], dead["attempt"]) == ("TransitionWorkerFailureException", 2)

    def logged() -> bool:
        lines = (line for log in client.product.folder.rglob("*.log") for line in log.read_text().splitlines())
        return any("Execution moved to DLQ" in line and drilled in line for line in lines)

    eventually(logged, what="the line for operators")

    if client.version != "august":
        retry = redriven(client, dead, "redrive-retry", allowFailed=True)
        assert retry.status_code in {409, 501}, "no plain replay instead"
        assert redriven(client, dead, "redrive-reissue", targetCommandId="command-1").status_code == 409
    answer = redriven(client, dead, allowFailed=True)
    assert unread(client.version, "answer-redriven", answer.json()) == []
    assert (answer.status_code, answer.json()["previousStatus"], answer.json()["attempt"]) == (200, dead["status"], 3)
    client.wait_for(drilled, "FAILED", "DLQ")
    resumes = [
        command for command in worker.commands if command["executionId"] == drilled and command["currentStepIndex"] == 3
    ]
    assert {json.loads(command["payload"])["accepted"]["orderId"] for command in resumes} == {"nonsense"}
    assert len(resumes) == 6, "a re-drive has a new retry budget"

    worker.answers = [message(client.version, "result-failed-non-retryable", failure={"message": "sold out"})]
    ended = client.wait_for(client.submit("order-2"), "FAILED", "DLQ")
    assert (ended["errorCode"], ended["errorMessage"], ended["attempt"]) == ("NonRetryableException", "sold out", 0)


@pytest.mark.parametrize("client", ["november"], indirect=True)
def test_a_client_of_november_activates_and_admits_with_receipts(
    running: RunningProduct, client: ExistingClient, worker: VersionedWorker
) -> None:
    """`interop/test_activation_operations.py` and `interop/test_admissions.py` have what is refused."""
    registered(client, TWO)
    pin = {"contractVersion": worker.contract_version, "releaseVersion": ONE}

    def current() -> Any:
        return client.ok("GET", "admin/{p}/current-activation", "current-activation")["identifiedEvent"]

    def operated(key: str, release: str) -> Any:
        body = client.request("activation", operationKey=key, **pin | {"releaseVersion": release})
        return client.ok("POST", "admin/{p}/activation-operations", "activation", body)

    def admitted() -> Any:
        sent = client.submission("unused")["inputPayload"]
        body = client.request("admission", clientKey="order-1", inputPayload=sent, **pin)
        return client.ok("POST", "control-plane/{p}/execution-admissions", "admission", body)

    none = client.ok("GET", "admin/{t}/pipelines/none/current-activation", "no-activation")
    assert none == message(client.version, "answer-no-activation", tenantId=client.tenant, pipelineId="none")
    first, again = operated("one", ONE), operated("two", TWO)
    assert current()["activationId"] == again["activationId"] != first["activationId"]
    operated("three", ONE)
    receipt = admitted()
    client.wait_for(receipt["executionId"], "WAITING_EXTERNAL")
    activated(client, TWO)
    running.kill("web")
    running.restore()
    assert operated("one", ONE) == client.ok("GET", "admin/{p}/activation-operations/one", "activation") == first
    assert current()["releaseVersion"] == TWO
    assert admitted() == client.ok("GET", "control-plane/{p}/execution-admissions/order-1", "admission") == receipt
    assert receipt["releaseMetadataFingerprint"] == first["immutableReleaseIdentity"]["metadataFingerprint"]
    client.decide(receipt["executionId"])
    client.wait_for(receipt["executionId"], "SUCCEEDED")
    assert {command["releaseVersion"] for command in worker.commands} == {ONE}
