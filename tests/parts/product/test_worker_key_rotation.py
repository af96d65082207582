import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coordinator_client.errors import Unreachable
from embedded.children import Child
from embedded.client import Client
from embedded.product import Backing, Product
from releases.artifacts.local_store import LocalArtifactStore
from tests.building import first_tenant
from tests.database_template import database
from tests.running import BuiltRelease, eventually
from tests.servers import NUMBER, ordinary_url

TENANT, PIPELINE = "acme", "tests.pinned"
SCOPES = ("read", "payloads:read", "executions:submit", "releases:register", "releases:activate")
OLD, NEW = "the-old-worker-secret-0123456789abcdef", "the-new-worker-secret-0123456789abcdef"


@dataclass
class Installation:
    """Two coordinators on the same servers, which are restarted one at a time, and the tenant's workers."""

    coordinators: list[Product]
    workers: Product
    token: str

    def clients(self) -> list[Client]:
        return [Client(coordinator.url, TENANT, self.token) for coordinator in self.coordinators]

    def key(self, *change: str) -> str:
        return self.coordinators[0].manage("worker_key", TENANT, *change)

    def roll(self, **settings: str) -> None:
        for coordinator in self.coordinators:
            coordinator.stop()
            coordinator.environment.update(settings)
            coordinator.start()

    def publish(self, release: BuiltRelease, worker: str) -> None:
        """Register a release, start its first worker, and activate it."""
        client = self.clients()[0]
        client.upload(release.pipeline_id, release.descriptor, release.artifact)
        assert client.verified(release.pipeline_id, "1.0")["status"] == "REGISTERED"
        self.host(release, worker, self.key())
        client.wait_for_worker(worker)
        client.activate(release.pipeline_id, "1.0", "first")

    def host(self, release: BuiltRelease, name: str, key: str) -> Child:
        return self.workers.start_worker(name, release=release.descriptor, tenant=TENANT, key=key)

    def replace_workers(self, release: BuiltRelease, name: str, key: str) -> None:
        """Start a worker with another key, and stop the others once the coordinator knows it."""
        before = list(self.workers.children.started)
        self.host(release, name, key)
        self.clients()[0].wait_for_worker(name)
        for child in before:
            assert child.stop(grace=60) == 0


class Load(threading.Thread):
    """Submits executions to any available coordinator until it is stopped."""

    def __init__(self, clients: list[Client]) -> None:
        super().__init__(name="load", daemon=True)
        self.accepted: list[str] = []
        self._clients = clients
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.3):
            for client in self._clients:
                try:
                    accepted = client.submit(PIPELINE, {"number": 1}, f"load-{len(self.accepted)}")
                except Unreachable:
                    continue  # this coordinator is being restarted
                self.accepted.append(accepted["executionId"])
                break

    def wait_for_more(self) -> None:
        """Wait until more than three further executions are accepted."""
        count = len(self.accepted) + 3
        eventually(lambda: len(self.accepted) > count, what="further load")

    def stop(self) -> list[str]:
        self._stopped.set()
        self.join()
        return self.accepted


@pytest.fixture
def installation(django_db_setup: None, tmp_path: Path, gathered_static_files: str) -> Iterator[Installation]:
    with (
        database(f"test_{NUMBER}_rotation") as name,
        Backing(tmp_path / "servers", outside={"DATABASE_URL": ordinary_url(name)}) as backing,
    ):
        servers = backing.environment()
        store = tmp_path / "artifacts"
        LocalArtifactStore(store).set_up()
        settings = {
            "STATIC_ROOT": gathered_static_files,
            "SECRET_KEY": "x" * 40,
            "WORKER_SECRET": OLD,
            "SWEEP_SECONDS": "1",
            "ARTIFACT_ROOT": str(store),
        }
        products = [
            Product(tmp_path / folder, servers, settings, web_processes=1) for folder in ("one", "other", "workers")
        ]
        try:
            for product in products[:2]:
                product.start()
            token = first_tenant(products[0], TENANT, "ann", "a-long-and-odd-passphrase", SCOPES)
            yield Installation(products[:2], products[2], token)
        finally:
            for product in reversed(products):
                product.stop()


@pytest.mark.timeout(500)
def test_no_execution_is_lost_while_secret_and_key_are_rotated(installation: Installation, v1: BuiltRelease) -> None:
    """Follows the steps of the runbook."""
    client = installation.clients()[0]
    keys = [installation.key()]
    installation.publish(v1, "worker-0")
    load = Load(installation.clients())
    load.start()
    try:
        # Rotate the secret.
        installation.roll(WORKER_SECRET_FALLBACKS=NEW)
        load.wait_for_more()
        installation.roll(WORKER_SECRET=NEW, WORKER_SECRET_FALLBACKS=OLD)
        load.wait_for_more()
        keys.append(installation.key())
        installation.replace_workers(v1, "worker-1", keys[1])
        installation.roll(WORKER_SECRET_FALLBACKS="")
        load.wait_for_more()
        # Rotate the tenant's key.
        keys.append(installation.key("--start"))
        load.wait_for_more()
        installation.replace_workers(v1, "worker-2", keys[2])
        assert installation.key("--revoke-old") == keys[2]
        load.wait_for_more()
    finally:
        accepted = load.stop()
    assert len(set(keys)) == 3
    for execution_id in accepted:
        execution = client.finished(execution_id)
        assert (execution["status"], execution["attempt"]) == ("SUCCEEDED", 0)

    # A worker with the revoked key is refused and logs the reason.
    late = installation.host(v1, "worker-late", keys[1])
    eventually(lambda: not late.running, seconds=60, what="the end of the worker with the revoked key")
    assert late.status == 2
    assert "WORKER_REFUSED: no coordinator accepts this worker: KEY_NOT_ACTIVE" in late.log_tail()
