"""Image registries that do not respond delay verifications and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import making
from tests.building import BuiltRelease, eventually
from tests.image_registry import ImageRegistry, image_registry
from tests.parts.product.conftest import product_with_own_broker
from tests.running import RunningProduct, TenantInUse

DIGEST = making.digest_of(b"manifest")
THREADS = 8


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    with image_registry() as running:
        running.digests.add(DIGEST)
        yield running


@pytest.fixture
def tenant(running: RunningProduct, registry: ImageRegistry, tmp_path: Path, name: str) -> Iterator[TenantInUse]:
    """A tenant of a product that checks images in `registry`, with a timeout of a minute."""
    settings = {
        "IMAGE_REGISTRY_CHECK": "true",
        "IMAGE_REGISTRY_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "IMAGE_REGISTRIES_PLAIN_HTTP": registry.host,
        "IMAGE_REGISTRY_SECONDS": "60",
    }
    with product_with_own_broker(running, tmp_path, settings) as (product, _):
        created = product.tenant(name)
        yield created
        created.stop_workers()


def upload(tenant: TenantInUse, registry: ImageRegistry, version: str) -> None:
    document = making.descriptor(making.contract(), b"manifest", version, kind="container-image")
    document["artifacts"][0]["uri"] = registry.reference(DIGEST)
    files = {"descriptor": ("pipeline-release.json", json.dumps(document))}
    response = tenant.http.post(tenant.url(f"pipelines/{making.PIPELINE}/releases"), files=files)
    assert response.status_code == 202, response.text


def statuses(tenant: TenantInUse) -> set[str]:
    return {found["status"] for found in tenant.get(f"pipelines/{making.PIPELINE}/releases")["items"]}


def test_heartbeats_and_outcomes_are_processed_while_no_registry_responds(
    tenant: TenantInUse, registry: ImageRegistry, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "worker")
    registry.gate.clear()
    for number in range(2 * THREADS):
        upload(tenant, registry, f"{number}.0")
    eventually(lambda: registry.requests, what="a thread to wait for the registry")
    [before] = tenant.get("workers")["items"]

    execution_id = tenant.accepted("tests.pinned", {"number": 1}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED", seconds=10)
    later = eventually(
        lambda: tenant.get("workers")["items"][0]["lastHeartbeatAt"] > before["lastHeartbeatAt"], what="a heartbeat"
    )
    assert later
    assert statuses(tenant) <= {"UPLOADED", "VERIFYING"}

    registry.gate.set()
    eventually(lambda: statuses(tenant) == {"REGISTERED"}, what="all to be registered")
