"""A broker whose memory is full, under load: nothing is lost, no process falls, and histories stay short."""

import time

from redis import Redis

from coordinator.local.valkey import Valkey
from tests.running import BuiltRelease, RunningProduct

COUNT = 40
FULL_SECONDS = 8


def test_a_full_broker_makes_work_late_and_its_history_no_longer_than_it_must_be(
    own_broker: tuple[RunningProduct, Valkey], v1: BuiltRelease, name: str
) -> None:
    running, valkey = own_broker
    tenant = running.tenant(name)
    try:
        tenant.register(v1)
        tenant.activate(v1)
        tenant.start_worker(v1, "worker-v1")
        with Redis.from_url(valkey.url) as client:
            client.config_set("maxmemory", 1)
            until = time.monotonic() + FULL_SECONDS
            made = [tenant.accepted("tests.pinned", {"number": n}, f"k{n}")["executionId"] for n in range(COUNT)]
            while time.monotonic() < until:
                made.append(tenant.accepted("tests.pinned", {"number": 0}, f"k{len(made)}")["executionId"])
                time.sleep(0.1)
            client.config_set("maxmemory", 0)
        for execution_id in made:
            tenant.wait_for(execution_id, "SUCCEEDED", seconds=60)
            kinds = [event["kind"] for event in tenant.events(execution_id)]
            assert kinds.count("CLAIMED") <= 3, kinds
        running.product.children.require_running()
    finally:
        tenant.stop_workers()
