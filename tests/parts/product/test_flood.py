"""A flood of invalid messages from one tenant's broker user does not make other tenants' workers stale."""

import json
import time
from pathlib import Path

import pytest
from redis import Redis

from tests.parts.product.conftest import product_with_own_broker
from tests.running import BuiltRelease, RunningProduct, TenantInUse
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK
from wire.messages.task_messages import NOTHING_FOLLOWS, TaskMessages

PLAIN = {"task": HEARTBEAT_TASK, "eta": None, "expires": None, "retries": 0}
GARBAGE, FORGED = 500_000, 200_000


@pytest.mark.timeout(240)
def test_a_flood_of_heartbeats_makes_no_worker_of_another_tenant_stale(
    running: RunningProduct, tmp_path: Path, name: str, v1: BuiltRelease
) -> None:
    """Garbage is read quickly. Forged heartbeats are slow to read, but meanwhile no worker becomes stale."""
    seconds = {"WORKER_STALE_SECONDS": "10", "LEASE_SECONDS": "20", "SWEEP_SECONDS": "1"}
    with product_with_own_broker(running, tmp_path, seconds) as (product, valkey):
        bad, other = product.tenant(f"{name}-bad"), product.tenant(name)
        forged = TaskMessages().write(HEARTBEAT_QUEUE, PLAIN, json.dumps([[{}], {}, NOTHING_FOLLOWS]).encode())
        try:
            other.register(v1)
            other.activate(v1)
            other.start_worker(v1, "worker")
            url = product.product.broker_url(bad.tenant.slug)
            with Redis.from_url(url) as attacker, Redis.from_url(valkey.owner_url) as owner:
                attacker.lpush(HEARTBEAT_QUEUE, *[b"x"] * GARBAGE)
                began = time.monotonic()
                while owner.llen(HEARTBEAT_QUEUE) > 100:
                    stays_healthy(other)
                assert time.monotonic() - began < 30
                execution_id = other.accepted("tests.pinned", {"number": 1}, "after garbage")["executionId"]
                other.wait_for(execution_id, "SUCCEEDED")
                attacker.lpush(HEARTBEAT_QUEUE, *[forged] * FORGED)
                began = time.monotonic()
                while time.monotonic() - began < 14:
                    delayed = stays_healthy(other)
                assert delayed
                assert owner.llen(HEARTBEAT_QUEUE) > 1000
                owner.delete(HEARTBEAT_QUEUE)
            execution_id = other.accepted("tests.pinned", {"number": 1}, "after all")["executionId"]
            other.wait_for(execution_id, "SUCCEEDED")
        finally:
            other.stop_workers()


def stays_healthy(tenant: TenantInUse) -> bool:
    """Fail unless the tenant's worker is healthy and a submission is accepted. Return whether it is delayed."""
    [worker] = tenant.get("workers")["items"]
    assert worker["state"] == "HEALTHY"
    time.sleep(1)
    response = tenant.accepted("tests.pinned", {"number": 1}, f"at {time.monotonic()}")
    return bool(response.get("dispatchDelayed"))
