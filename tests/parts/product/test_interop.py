import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from embedded.product import PROJECT
from tests.interop.client import payload
from tests.parts.product.existing_client import ExistingClient
from tests.running import REST_PORT, BuiltRelease, TenantInUse, build, eventually

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
    celery = tenant.host(orders, "celery-1")
    tenant.change_policy(orders.pipeline_id, recipients="inform")  # calls of existing clients name no member
    client = host_over_http(tenant, orders)
    type_id = TYPES + "OrderRequest"
    execution_ids = [tenant.accepted(orders.pipeline_id, order(n), f"native-{n}")["executionId"] for n in range(8)]
    execution_ids += [client.submit(f"tpf-{n}", order(n), type_id) for n in range(8)]
    for execution_id in execution_ids:
        tenant.wait_for(execution_id, "WAITING_EXTERNAL")
    begun = [workers(tenant, execution_id) for execution_id in execution_ids]
    assert {worker for names in begun for worker in names} == {"worker:celery-1", "worker:rest-1"}

    # The remaining worker continues the executions of the other.
    celery.stop()
    for execution_id in execution_ids:
        interaction = client.interaction(execution_id)
        assert interaction["outputType"] == TYPES + "Decision"
        decision = {"order_id": interaction["requestPayload"]["order_id"], "accepted": True, "note": "ok"}
        client.complete(interaction, payload(TYPES + "Decision", decision))
    for execution_id in execution_ids:
        tenant.wait_for(execution_id, "SUCCEEDED", seconds=60)
        assert "worker:rest-1" in workers(tenant, execution_id)
        assert tenant.result(execution_id)["state"] == "ACCEPTED"
        result = client.result(execution_id)
        assert result["payloadTypeId"] == TYPES + "FinishedOrder"
        assert json.loads(result["payload"]) == tenant.result(execution_id)
