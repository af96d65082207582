import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from embedded.product import PROJECT
from tests.interop.client import payload
from tests.interop.stored import VERSIONS, message, unread
from tests.parts.product.existing_client import ExistingClient
from tests.running import REST_PORT, BuiltRelease, TenantInUse, build, eventually
from tests.unit.pipelines.worker.test_rest_host import CAPABILITIES, EXECUTE, inputs, signed
from wire.worker_keys import worker_key

ENDPOINT = f"http://127.0.0.1:{REST_PORT}"
TYPES = "orders.pipeline."
LINES = [{"dish": "soup", "quantity": 2, "price": "4.50"}]


@pytest.fixture
def orders(tmp_path: Path) -> BuiltRelease:
    folder = tmp_path / "source"
    shutil.copytree(PROJECT / "examples" / "orders", folder / "orders", ignore=shutil.ignore_patterns("__pycache__"))
    return build("orders.pipeline:pipeline", folder, tmp_path / "dist", "1.0")


def start_rest_host(tenant: TenantInUse, release: BuiltRelease) -> None:
    tenant.start_rest_worker(release, f"rest-{tenant.tenant.slug}")

    def listens() -> bool:
        try:
            return requests.get(f"{ENDPOINT}/", timeout=1).status_code == 404
        except requests.RequestException:
            return False

    eventually(listens, what="the worker's port")


def host_over_http(tenant: TenantInUse, release: BuiltRelease) -> ExistingClient:
    client = ExistingClient(tenant.product, tenant.tenant.slug, release.pipeline_id)
    start_rest_host(tenant, release)
    client.register_worker(release.document["contractVersion"], release.version, ENDPOINT, "rest-1")
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
    type_id = TYPES + "OrderRequest"
    execution_ids = [tenant.accepted(orders.pipeline_id, order(n), f"native-{n}")["executionId"] for n in range(8)]
    execution_ids += [client.submit(f"tpf-{n}", order(n), type_id) for n in range(8)]
    for each in execution_ids:
        tenant.wait_for(each, "WAITING_EXTERNAL")
    begun = [workers(tenant, each) for each in execution_ids]
    assert {worker for each in begun for worker in each} == {"worker:celery-1", "worker:rest-1"}

    # The remaining worker continues the executions of the other.
    celery.stop()
    for each in execution_ids:
        interaction = client.interaction(each)
        assert interaction["outputType"] == TYPES + "Decision"
        decision = {"order_id": interaction["requestPayload"]["order_id"], "accepted": True, "note": "ok"}
        client.complete(interaction, payload(TYPES + "Decision", decision))
    for each in execution_ids:
        tenant.wait_for(each, "SUCCEEDED", seconds=60)
        assert "worker:rest-1" in workers(tenant, each)
        assert tenant.result(each)["state"] == "ACCEPTED"
        result = client.result(each)
        assert result["payloadTypeId"] == TYPES + "FinishedOrder"
        assert json.loads(result["payload"]) == tenant.result(each)


def test_the_worker_runs_an_order_for_coordinators_of_every_version(tenant: TenantInUse, orders: BuiltRelease) -> None:
    """`unit/pipelines/worker/test_rest_host.py` has the other commands."""
    start_rest_host(tenant, orders)
    secret = worker_key(tenant.product.environment["WORKER_SECRET"], tenant.tenant.slug).text
    pin = {name: orders.document[name] for name in ("pipelineId", "contractVersion", "releaseVersion")}

    for version in VERSIONS:

        def sent(method: str, path: str, kind: str, body: bytes = b"", version: str = version) -> Any:
            headers = signed(method, path, body, secret=secret)
            response = requests.request(method, ENDPOINT + path, data=body, headers=headers, timeout=10)
            assert response.status_code == 200, (version, response.text)
            assert unread(version, kind, response.json()) == []
            return response.json()

        def ran(name: str, version: str = version, **values: Any) -> Any:
            command = message(version, name, tenantId=tenant.tenant.slug, **pin, **values)
            return sent("POST", EXECUTE, "result", json.dumps(command).encode())

        assert sent("GET", CAPABILITIES, "capabilities").items() >= pin.items()
        [waiting, *_] = [ran("command", **given) for given in inputs(version, order(1), TYPES + "OrderRequest")]
        [interaction] = waiting["awaitSuspension"]["interactions"]
        decision = {"order_id": interaction["requestPayload"]["order_id"], "accepted": True, "note": "ok"}
        ended = ran("command-resumed", **payload(TYPES + "Decision", decision))
        assert json.loads(ended["outputPayloads"][0]["payload"])["state"] == "ACCEPTED"
        refused = ran("command", **inputs(version, {**order(1), "lines": []}, TYPES + "OrderRequest")[0])
        assert refused["failure"]["failureClass"] == "org.pipelineframework.step.NonRetryableException"
