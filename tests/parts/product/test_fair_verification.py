"""A tenant that uploads many costly archives does not delay other tenants' releases, heartbeats or outcomes."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import making
from tests.parts.product.conftest import product_with_own_broker
from tests.releases.registration import heavy
from tests.running import BuiltRelease, RunningProduct, TenantInUse, eventually

HEAVY = 16
CONTRACT = making.contract()


@pytest.fixture
def tenants(running: RunningProduct, tmp_path: Path, name: str) -> Iterator[tuple[TenantInUse, TenantInUse]]:
    with product_with_own_broker(running, tmp_path, {"WORKER_STALE_SECONDS": "30"}) as (product, _):
        created = product.tenant(f"{name}-busy"), product.tenant(name)
        yield created
        created[1].stop_workers()


def upload(tenant: TenantInUse, version: str, data: bytes) -> None:
    document = making.descriptor(CONTRACT, data, version)
    files: dict[str, Any] = {
        "descriptor": ("pipeline-release.json", json.dumps(document)),
        "artifact": ("app.zip", data),
    }
    response = tenant.http.post(tenant.url(f"pipelines/{making.PIPELINE}/releases"), files=files)
    assert response.status_code == 202, response.text


def unverified(tenant: TenantInUse) -> int:
    releases = tenant.get(f"pipelines/{making.PIPELINE}/releases")["items"]
    return sum(release["status"] in {"UPLOADED", "VERIFYING"} for release in releases)


def test_costly_archives_of_one_tenant_delay_no_other_tenant(
    tenants: tuple[TenantInUse, TenantInUse], v1: BuiltRelease, v2: BuiltRelease
) -> None:
    busy, other = tenants
    other.register(v1)
    other.activate(v1)
    other.start_worker(v1, "worker")
    for number in range(HEAVY):
        upload(busy, f"{number}.0", heavy.archive(CONTRACT, entries=375, salt=str(number)))
    eventually(lambda: unverified(busy) == HEAVY, what="the uploads to wait")
    time.sleep(1)

    began = time.monotonic()
    other.register(v2)
    assert time.monotonic() - began < 10

    heartbeats = []
    for number in range(10):
        began = time.monotonic()
        execution_id = other.accepted("tests.pinned", {"number": number}, f"k{number}")["executionId"]
        other.wait_for(execution_id, "SUCCEEDED", seconds=10)
        assert time.monotonic() - began < 10
        [worker] = other.get("workers")["items"]
        heartbeats.append(datetime.fromisoformat(worker["lastHeartbeatAt"]).timestamp())
    assert time.time() - heartbeats[-1] < 5
    assert unverified(busy) > HEAVY / 2, "the costly archives were still being verified"
