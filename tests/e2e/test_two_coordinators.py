"""Two coordinators that share PostgreSQL, Redis and S3, but no disk. Each continues the work of the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from embedded.backing import Backing
from embedded.children import Child
from embedded.client import Client
from embedded.product import Product
from releases.registration.turns import STALLED
from tests.database_template import database
from tests.running import PASSWORD, BuiltRelease
from tests.s3 import S3Place, client_of
from tests.servers import NUMBER, ordinary_url

PIPELINE = "tests.pinned"
TENANT = "acme"
SCOPES = ("read", "payloads:read", "executions:submit", "releases:register", "releases:activate")


@dataclass
class Pair:
    database: str
    one: Product
    other: Product
    token: str
    worker_key: str

    def client(self, product: Product) -> Client:
        return Client(product.url, TENANT, self.token)

    def age_verifications(self) -> None:
        """Make due and running verifications look stalled."""
        earlier = """
            UPDATE releases_release SET status_changed_at = status_changed_at - %s
            WHERE status IN ('UPLOADED', 'VERIFYING')
        """
        with psycopg.connect(ordinary_url(self.database)) as connection:
            connection.execute(earlier, [2 * STALLED])

    def host(self, release: BuiltRelease, name: str) -> Child:
        started = self.other.start_worker(name, release=release.descriptor, tenant=TENANT, key=self.worker_key)
        self.client(self.other).wait_for_worker(name)
        return started


def kill(product: Product) -> None:
    """Kill every process of a coordinator with SIGKILL, like the loss of its host."""
    for child in product.children.started:
        child.kill()
    product.children.started.clear()


@pytest.fixture
def pair(django_db_setup: None, s3_place: S3Place, tmp_path: Path, gathered_static_files: str) -> Iterator[Pair]:
    with (
        database(f"test_{NUMBER}_pair") as name,
        Backing(tmp_path / "servers", outside={"DATABASE_URL": ordinary_url(name)}) as backing,
    ):
        servers = backing.environment()
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
            "SWEEP_SECONDS": "0.5",
            "LEASE_SECONDS": "3",
            "RETRY_DELAY_SECONDS": "1",
        }
        one, other = (Product(tmp_path / folder, servers, settings, web_processes=1) for folder in ("one", "other"))
        try:
            for product in (one, other):
                product.start()
            person = ["--username=ann", "--email=a@example.org", "--noinput"]
            one.manage("createsuperuser", *person, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
            one.manage("create_tenant", TENANT, "--member=ann")
            token = one.manage("issue_token", TENANT, "ci", "--user=ann", *(f"--scope={scope}" for scope in SCOPES))
            yield Pair(name, one, other, token, one.manage("worker_key", TENANT))
        finally:
            for product in (one, other):
                product.stop()


@pytest.mark.timeout(500)
def test_each_continues_the_work_of_the_other_and_either_may_be_killed(
    pair: Pair, v1: BuiltRelease, v2: BuiltRelease, s3_place: S3Place
) -> None:
    one, other = pair.client(pair.one), pair.client(pair.other)
    one.upload(PIPELINE, v1.descriptor, v1.artifact)
    assert other.verified(PIPELINE, "1.0")["status"] == "REGISTERED"
    pair.host(v1, "worker-v1")
    other.activate(PIPELINE, "1.0", "registered through the other one")
    first = one.submit(PIPELINE, {"number": 1}, "first")["executionId"]
    assert other.finished(first)["pin"]["releaseVersion"] == "1.0"
    assert other.result(first) == {"number": 1, "made_by": "code v1, attempt 0"}

    # Uploaded through the first coordinator, which is killed before any other request.
    one.upload(PIPELINE, v2.descriptor, v2.artifact)
    between = one.submit(PIPELINE, {"number": 2, "fail_times": 1}, "between")["executionId"]
    kill(pair.one)
    # If it was killed during the verification, the sweep notices that after two minutes.
    pair.age_verifications()
    assert other.verified(PIPELINE, "2.0", seconds=60)["status"] == "REGISTERED"
    assert other.finished(between)["pin"]["releaseVersion"] == "1.0"
    pair.host(v2, "worker-v2")
    other.activate(PIPELINE, "2.0", "after the loss of a host")
    second = other.submit(PIPELINE, {"number": 3}, "second")["executionId"]
    assert other.finished(second)["pin"]["releaseVersion"] == "2.0"

    # The first coordinator restarts, and the other one is killed.
    pair.one.start()
    one = pair.client(pair.one)
    kill_all_but_workers(pair.other)
    third = one.submit(PIPELINE, {"number": 4}, "third")["executionId"]
    assert one.finished(third)["pin"]["releaseVersion"] == "2.0"
    assert one.execution(second)["status"] == "SUCCEEDED"

    keys = client_of(s3_place).list_objects_v2(Bucket=s3_place.bucket, Prefix=s3_place.prefix)["Contents"]
    assert len(keys) == 2
    for product in (pair.one, pair.other):
        files = [path for path in (product.folder / "artifacts").rglob("*") if path.is_file()]
        assert files == [], "a coordinator must not store artifacts on its own disk"


def kill_all_but_workers(product: Product) -> None:
    for child in [child for child in product.children.started if not child.name.startswith("worker-")]:
        child.kill()
        product.children.started.remove(child)
