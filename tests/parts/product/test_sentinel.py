from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest
from redis import Redis

from tests.parts.product.conftest import product_with_own_database
from tests.running import BuiltRelease, RunningProduct, TenantInUse
from tests.sentinel import Watched, watched

EXECUTIONS = 150


@pytest.fixture
def brokers(tmp_path: Path, certificate: Path) -> Iterator[Watched]:
    with watched(tmp_path, certificate) as made:
        yield made


@pytest.fixture
def tenant(
    running: RunningProduct, brokers: Watched, certificate: Path, tmp_path: Path, name: str
) -> Iterator[TenantInUse]:
    settings = {"LEASE_SECONDS": "5", "WORKER_STALE_SECONDS": "10", "REDIS_CA_FILE": str(certificate)}
    broker = {"REDIS_URL": brokers.url, "REDIS_OWNER_URL": brokers.primary.owner_url}
    with product_with_own_database(running, tmp_path, broker, settings, web_processes=1) as product:
        product.start()
        yield RunningProduct(product).tenant(name)


@pytest.mark.timeout(500)
def test_no_execution_is_lost_if_the_primary_is_killed(tenant: TenantInUse, brokers: Watched, v1: BuiltRelease) -> None:
    worker = tenant.host(v1, "worker")
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes().decode().split("\0")
    [url] = [line.partition("=")[2] for line in environment if line.startswith("PIPELINES_BROKER_URL=")]
    brokers.add_user(url)
    half_way = Event()

    def submit(number: int) -> str:
        if number == EXECUTIONS // 2:
            half_way.set()
        return str(tenant.accepted(v1.pipeline_id, {"number": number}, f"key-{number}")["executionId"])

    with ThreadPoolExecutor(4) as clients:
        submitted = [clients.submit(submit, number) for number in range(EXECUTIONS)]
        assert half_way.wait(60)
        brokers.primary.kill()
        executions = [future.result() for future in submitted]
    for execution_id in executions:
        tenant.wait_for(execution_id, "SUCCEEDED", seconds=90)
    assert len(set(executions)) == EXECUTIONS
    after = tenant.accepted(v1.pipeline_id, {"number": 1}, "after")["executionId"]
    tenant.wait_for(after, "SUCCEEDED")
    with Redis.from_url(brokers.replica.owner_url) as client:
        assert client.info("replication")["role"] == "master"
        assert {urlsplit(brokers.url).username, urlsplit(url).username} <= {
            entry["user"] for entry in client.client_list()
        }
        refused = [entry for entry in client.acl_log() if entry["username"] != "default"]
    assert refused == []
    assert worker.running
