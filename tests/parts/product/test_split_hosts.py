"""Two hosts share PostgreSQL, Redis and S3. Each has a web process, a clock and a control worker for some queues."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from embedded.children import Child
from embedded.product import Product
from embedded.valkey import Valkey
from executions.models import ExecutionEvent, MessagePath
from releases.models import Activation
from tests.database_template import connected_to, database
from tests.parts.product.conftest import post
from tests.running import BuiltRelease, RunningProduct, TenantInUse, eventually
from tests.s3 import S3Place
from tests.servers import NUMBER, ordinary_url

SWEEP_SECONDS = 0.5
SHORT, SLOW = ("control", "outcomes", "heartbeats"), ("artifacts", "webhooks", "rest")


@dataclass
class Hosts:
    """Two hosts. `one` and `other` are the same tenant through each of their web processes."""

    one: TenantInUse
    other: TenantInUse
    clocks: tuple[Child, Child]


@pytest.fixture
def hosts(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    s3_place: S3Place,
    tmp_path: Path,
    gathered_static_files: str,
    name: str,
) -> Iterator[Hosts]:
    settings = {
        "STATIC_ROOT": gathered_static_files,
        "ARTIFACT_STORE": "s3",
        "S3_ENDPOINT_URL": s3_place.endpoint_url,
        "S3_BUCKET": s3_place.bucket,
        "S3_PREFIX": s3_place.prefix,
        "S3_ACCESS_KEY_ID": s3_place.access_key_id,
        "S3_SECRET_ACCESS_KEY": s3_place.secret_access_key,
        "SECRET_KEY": "one-key-for-all-coordinators-0123456789",
        "WORKER_SECRET": "one-secret-for-all-coordinators-0123456789",
        "SWEEP_SECONDS": str(SWEEP_SECONDS),
        "LEASE_SECONDS": "3",
        "RETRY_DELAY_SECONDS": "0.5",
    }
    with (
        database(f"test_{NUMBER}_hosts") as made,
        connected_to(made),
        Valkey(tmp_path / "valkey", durable=False) as valkey,
    ):
        servers = {"DATABASE_URL": ordinary_url(made), "REDIS_URL": valkey.url, "REDIS_OWNER_URL": valkey.owner_url}
        one, other = (Product(tmp_path / folder, servers, settings, web_processes=1) for folder in ("one", "other"))
        try:
            clocks = one.start_clock(), other.start_clock()
            one.start_control_worker("short", queues=SHORT)
            other.start_control_worker("slow", queues=SLOW)
            for product in (one, other):
                product.start_web()
            for product in (one, other):
                product.wait_until_ready()
            with django_db_blocker.unblock():
                tenant = RunningProduct(one).tenant(name)
                yield Hosts(tenant, TenantInUse(other, tenant.tenant, tenant.admin), clocks)
        finally:
            for product in (one, other):
                product.stop()


def beats() -> datetime:
    """Return when the newest message that a clock caused has arrived."""
    return MessagePath.objects.get().arrived_at


@pytest.mark.timeout(500)
def test_the_hosts_share_the_work_and_the_clock_of_either_may_be_killed(
    hosts: Hosts, v1: BuiltRelease, v2: BuiltRelease
) -> None:
    one, other = hosts.one, hosts.other
    # The request reaches one host, and the control worker of the other one verifies the release.
    one.register(v1)
    other.register(v2)
    at = datetime.now(UTC) + timedelta(seconds=2)
    path = f"pipelines/{v1.pipeline_id}"
    body = {"releaseVersion": "1.0", "reason": "at noon", "activateAt": at.isoformat()}
    request = post(other, f"{path}/activation-requests", 201, **body)["requestId"]
    other.start_worker(v1, "worker")
    eventually(lambda: one.get(path)["activeReleaseVersion"] == "1.0", what="the scheduled activation")
    assert one.get(f"{path}/activation-requests/{request}")["status"] == "ACTIVATED"
    assert datetime.fromisoformat(one.get(f"{path}/active")["activation"]["activatedAt"]) >= at
    assert [each.sequence for each in Activation.objects.all()] == [1], "two clocks cause one activation"
    first = one.accepted(v1.pipeline_id, {"number": 1, "fail_times": 2}, "first")["executionId"]
    assert other.submit(v1.pipeline_id, {"number": 1, "fail_times": 2}, "first").json()["executionId"] == first
    other.wait_for(first, "SUCCEEDED")

    for clock, product in zip(hosts.clocks, (one.product, other.product), strict=True):
        clock.kill()
        product.children.started.remove(clock)
        killed = datetime.now(UTC)
        eventually(lambda killed=killed: beats() > killed, seconds=20, what="a beat of the other clock")  # type: ignore[misc]
        late = one.accepted(v1.pipeline_id, {"number": 2, "fail_times": 1}, f"without-{product.port}")["executionId"]
        other.wait_for(late, "SUCCEEDED")
        if clock is hosts.clocks[0]:
            product.start_clock()
    ends = ExecutionEvent.objects.filter(kind="SUCCEEDED").values_list("execution_id", flat=True)
    assert len(ends) == len(set(ends)) == 3
