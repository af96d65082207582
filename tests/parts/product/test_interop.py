"""Existing clients and workers of the founding framework with the processes of the product."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from embedded.product import PROJECT, Product
from tests import making
from tests.executions.transports.rest.serving import serving
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, DTO, StrictWorker
from tests.interop.client import payload
from tests.interop.registering import written
from tests.interop.submitting import DECISION, DECISION_TYPE
from tests.running import (
    REST_PORT,
    TPF_ADMIN_TOKEN,
    TPF_CONTROL_TOKEN,
    BuiltRelease,
    RunningProduct,
    TenantInUse,
    build,
    eventually,
)
from wire.worker_keys import worker_key

PIPELINE = "org.pipelineframework.restaurantapproval"
ORDER = {"requestId": "r1", "customerId": "c1", "amount": 27.5}
LINES = [{"dish": "soup", "quantity": 2, "price": "4.50"}]


@dataclass
class ExistingClient:
    """A client of the founding framework, which uses only HTTP, files and the log."""

    product: Product
    tenant: str

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        token = TPF_ADMIN_TOKEN if path.startswith("admin") else TPF_CONTROL_TOKEN
        url = f"{self.product.url}/tpf/{path.format(t=f'tenants/{self.tenant}')}"
        return requests.request(method, url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        response = self.call(method, path, body)
        assert response.status_code == 200, (path, response.status_code, response.text)
        return response.json()

    def release(self, version: str = "sha256:one") -> dict[str, Any]:
        """Register and activate the order flow."""
        contract = making.contract(PIPELINE, CONTRACT_STEPS, transport="REST")
        base = f"admin/{{t}}/pipelines/{PIPELINE}/releases"
        folder = Path(self.product.settings["TPF_RELEASE_ROOTS"]) / self.tenant
        folder.mkdir(parents=True)
        path = written(folder, version, contract=contract)
        registered = self.ok("POST", f"{base}/register", {"releaseDescriptorPath": str(path)})
        assert registered["status"] == "REGISTERED"
        active = self.ok("POST", f"{base}/{version}/activate")
        assert active["status"] == "ACTIVE"
        assert self.ok("GET", f"{base}/active")["releaseVersion"] == version
        return dict(active)

    def host(self, pipeline: str, contract: str, version: str, endpoint: str, worker_id: str = "java-1") -> None:
        base = f"admin/{{t}}/pipelines/{pipeline}/workers"
        body = {
            "workerId": worker_id,
            "contractVersion": contract,
            "releaseVersion": version,
            "protocol": "rest",
            "endpoint": endpoint,
        }
        assert self.ok("POST", f"{base}/register", body)["state"] == "HEALTHY"
        assert self.ok("POST", f"{base}/{worker_id}/heartbeat")["state"] == "HEALTHY"

    def submit(self, key: str, order: Any = ORDER, pipeline: str = PIPELINE, type_id: str = "") -> str:
        body = {
            "pipelineId": pipeline,
            "inputShape": "UNI",
            "inputPayload": payload(type_id or DTO + "PlaceRestaurantOrderRequestDto", order),
            "idempotencyKey": key,
        }
        return str(self.ok("POST", "control-plane/{t}/executions", body)["executionId"])

    def status(self, execution_id: str) -> Any:
        return self.ok("GET", f"control-plane/{{t}}/executions/{execution_id}")

    def wait_for(self, execution_id: str, *states: str, seconds: float = 40) -> Any:
        def reached() -> Any:
            found = self.status(execution_id)
            return found if found["status"] in states else None

        return eventually(reached, seconds=seconds, what=f"{execution_id} in {states}")

    def interaction(self, execution_id: str) -> Any:
        def found() -> Any:
            pending = self.ok("GET", "control-plane/{t}/interactions/pending?limit=1000")
            return next((each for each in pending if each["executionId"] == execution_id), None)

        return eventually(found, what="the interaction")

    def complete(self, interaction: Any, response: dict[str, str]) -> Any:
        body = {"interactionId": interaction["interactionId"], "responsePayload": response, "actor": "restaurant"}
        return self.ok("POST", "control-plane/{t}/interactions/complete", body)

    def decide(self, execution_id: str, decision: Any = None) -> Any:
        return self.complete(self.interaction(execution_id), payload(DECISION_TYPE, decision or DECISION))

    def result(self, execution_id: str) -> Any:
        return self.ok("GET", f"control-plane/{{t}}/executions/{execution_id}/result")["resultPayload"]


@pytest.fixture
def client(running: RunningProduct, name: str) -> ExistingClient:
    return ExistingClient(running.product, name)


@contextmanager
def hosted(client: ExistingClient) -> Iterator[StrictWorker]:
    """Release and activate the order flow, and host it with the strict test double."""
    active = client.release()
    secret = worker_key(client.product.environment["WORKER_SECRET"], client.tenant).text
    double = StrictWorker(PIPELINE, active["contractVersion"], "sha256:one", secret)
    with serving(double, REST_PORT):
        client.host(PIPELINE, active["contractVersion"], "sha256:one", double.endpoint)
        yield double


def test_an_existing_client_works_unchanged(client: ExistingClient) -> None:
    """Register, activate, register a worker, send heartbeats, submit, poll, list, complete, re-drive."""
    assert requests.get(f"{client.product.url}/q/health/live", timeout=10).ok
    with hosted(client) as double:
        execution_id = client.submit("order-1")
        assert client.submit("order-1") == execution_id
        waiting = client.wait_for(execution_id, "WAITING_EXTERNAL")
        assert (waiting["stepIndex"], waiting["version"], waiting["nextDueAtEpochMs"]) == (2, 2, 2**63 - 1)
        assert client.result(execution_id) is None
        interaction = client.interaction(execution_id)
        assert interaction["requestPayload"]["requestId"] == "r1"
        done = client.decide(execution_id)
        assert (done["status"], done["duplicate"]) == ("COMPLETED", False)
        ended = client.wait_for(execution_id, "SUCCEEDED")
        assert (ended["stepIndex"], ended["version"], ended["attempt"]) == (3, 5, 0)
        assert client.complete(interaction, payload("null", None))["duplicate"] is True
        result = client.result(execution_id)
        assert result["payloadTypeId"] == DTO + "TerminalOrderStateDto"
        assert result["payload"].endswith('"total":27.50 }')

        # The incident drill: an invalid decision is accepted, the execution fails, and a re-drive fails too.
        drilled = client.submit("order-2")
        client.decide(drilled, {"accepted": {"orderId": "nonsense"}})
        dead = client.wait_for(drilled, "FAILED", "DLQ")
        assert dead["errorCode"] == "TransitionWorkerFailureException"
        assert dead["attempt"] == 2
        path = f"admin/{{t}}/executions/{drilled}/redrive"
        redriven = client.ok("POST", path, {"allowFailed": True, "expectedVersion": dead["version"], "reason": "drill"})
        assert (redriven["previousStatus"], redriven["attempt"]) == (dead["status"], 3)
        client.wait_for(drilled, "FAILED", "DLQ")
        resumes = [each for each in double.commands if each["executionId"] == drilled and each["currentStepIndex"] == 3]
        assert {json.loads(each["payload"])["accepted"]["orderId"] for each in resumes} == {"nonsense"}
        assert all(status in {200} for status in double.statuses)


# --- pipelines in Python --------------------------------------------------------------------------


@pytest.fixture
def orders(tmp_path: Path) -> BuiltRelease:
    folder = tmp_path / "source"
    shutil.copytree(PROJECT / "examples" / "orders", folder / "orders", ignore=shutil.ignore_patterns("__pycache__"))
    return build("orders.pipeline:pipeline", folder, tmp_path / "dist", "1.0")


def host_over_http(tenant: TenantInUse, release: BuiltRelease) -> ExistingClient:
    client = ExistingClient(tenant.product, tenant.tenant.slug)
    tenant.start_rest_worker(release, f"rest-{tenant.tenant.slug}")
    endpoint = f"http://127.0.0.1:{REST_PORT}"

    def listens() -> bool:
        try:
            return requests.get(f"{endpoint}/", timeout=1).status_code == 404
        except requests.RequestException:
            return False

    eventually(listens, what="the worker's port")
    client.host(release.pipeline_id, release.document["contractVersion"], release.version, endpoint, "rest-1")
    return client


def order(number: int) -> dict[str, Any]:
    return {"request_id": f"r{number}", "customer": "eva", "lines": LINES}


def workers(tenant: TenantInUse, execution_id: str) -> set[str]:
    return {event["actor"] for event in tenant.events(execution_id) if event["actor"].startswith("worker:")}


def test_one_pipeline_is_hosted_by_both_kinds_of_worker_at_once(tenant: TenantInUse, orders: BuiltRelease) -> None:
    """Executions are submitted through both APIs and run by any worker with a free place, with the same awaits."""
    tenant.register(orders)
    tenant.activate(orders)
    celery = tenant.start_worker(orders, "celery-1")
    client = host_over_http(tenant, orders)
    type_id = "orders.pipeline.OrderRequest"
    execution_ids = [tenant.accepted(orders.pipeline_id, order(n), f"native-{n}")["executionId"] for n in range(8)]
    execution_ids += [client.submit(f"tpf-{n}", order(n), orders.pipeline_id, type_id) for n in range(8)]
    for each in execution_ids:
        tenant.wait_for(each, "WAITING_EXTERNAL")
    begun = [workers(tenant, each) for each in execution_ids]
    assert {worker for each in begun for worker in each} == {"worker:celery-1", "worker:rest-1"}

    # The remaining worker continues the executions of the other.
    celery.stop()
    for each in execution_ids:
        interaction = client.interaction(each)
        assert interaction["outputType"] == "orders.pipeline.Decision"
        decision = {"order_id": interaction["requestPayload"]["order_id"], "accepted": True, "note": "ok"}
        client.complete(interaction, payload("orders.pipeline.Decision", decision))
    for each in execution_ids:
        tenant.wait_for(each, "SUCCEEDED", seconds=60)
        assert "worker:rest-1" in workers(tenant, each)
        assert tenant.result(each)["state"] == "ACCEPTED"
        result = client.result(each)
        assert result["payloadTypeId"] == "orders.pipeline.FinishedOrder"
        assert json.loads(result["payload"]) == tenant.result(each)
