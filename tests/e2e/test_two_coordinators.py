"""Two coordinators that share PostgreSQL, Valkey and S3, but no disk. Each continues the work of the other.

The servers are their own, so that a test may kill them.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from embedded.children import Child
from embedded.client import Client
from embedded.postgres import Postgres
from embedded.product import Product
from embedded.valkey import Valkey
from releases.registration.progress import STALLED
from tenancy.roles import Scope
from tests.building import eventually
from tests.database_template import connected_to, copy_to_another_server, database
from tests.e2e.orders import PIPELINES
from tests.running import BuiltRelease, RunningProduct, build
from tests.s3 import S3Place, client_of
from tests.servers import NUMBER
from wire.worker_keys import worker_key

PIPELINE = "tests.pinned"
TENANT = "acme"


@dataclass
class Pair:
    postgres: Postgres
    valkey: Valkey
    place: S3Place
    one: Product
    other: Product
    token: str
    worker_key: str

    def client(self, product: Product) -> Client:
        return Client(product.url, TENANT, self.token)

    def stored(self) -> int:
        """Return how many artifacts are in S3. A coordinator must not store any on its own disk."""
        for product in (self.one, self.other):
            assert [path for path in (product.folder / "artifacts").rglob("*") if path.is_file()] == []
        listed = client_of(self.place).list_objects_v2(Bucket=self.place.bucket, Prefix=self.place.prefix)
        return int(listed["KeyCount"])

    def age_verifications(self) -> None:
        """Make due and running verifications look stalled."""
        earlier = """
            UPDATE releases_release SET status_changed_at = status_changed_at - %s
            WHERE status IN ('UPLOADED', 'VERIFYING')
        """
        with psycopg.connect(self.postgres.url) as connection:
            connection.execute(earlier, [2 * STALLED])

    def host(self, release: BuiltRelease, name: str) -> Child:
        started = self.other.start_worker(name, release=release.descriptor, tenant=TENANT, key=self.worker_key)
        self.client(self.other).wait_for_worker(name)
        return started

    def begun(self, gate: Path, *numbers: int) -> list[str]:
        """Submit executions that wait for the gate. Return when the worker runs two, which are all it can run."""
        client = self.client(self.one)
        work = [{"number": number, "gate": str(gate)} for number in numbers]
        execution_ids = [str(client.submit(PIPELINE, order, f"{gate.name} {order}")["executionId"]) for order in work]

        def two_run() -> bool:
            return (
                sum(client.execution(execution_id)["runningSince"] is not None for execution_id in execution_ids) == 2
            )

        eventually(two_run, what="two steps")
        return execution_ids

    def results(self, execution_ids: list[str]) -> list[int]:
        other = self.client(self.other)
        for execution_id in execution_ids:
            other.finished(execution_id)
        results = [other.result(execution_id) for execution_id in execution_ids]
        assert {result["made_by"] for result in results} == {"code v1, attempt 0"}
        return [result["number"] for result in results]


@pytest.fixture(scope="module")
def more_settings() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def pair(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    s3_server: S3Place,
    tmp_path_factory: pytest.TempPathFactory,
    gathered_static_files: str,
    first: BuiltRelease,
    more_settings: dict[str, str],
) -> Iterator[Pair]:
    """Both coordinators run. The first release was uploaded to one, is activated by the other, and has a worker."""
    folder = tmp_path_factory.mktemp("pair")
    place = replace(s3_server, prefix=folder.name)
    with ExitStack() as up:
        valkey = up.enter_context(Valkey(folder / "valkey"))
        postgres = up.enter_context(Postgres(folder / "postgres"))
        servers = {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url, "REDIS_OWNER_URL": valkey.owner_url}
        environment = {
            "STATIC_ROOT": gathered_static_files,
            **place.environment(),
            "SECRET_KEY": settings.SECRET_KEY,
            "WORKER_SECRET": settings.WORKER_SECRET,
            "SWEEP_SECONDS": "0.5",
            "LEASE_SECONDS": "3",
            "RETRY_DELAY_SECONDS": "1",
            **more_settings,
        }
        one, other = (Product(folder / name, servers, environment, web_processes=1) for name in ("one", "other"))
        with django_db_blocker.unblock(), database(f"test_{NUMBER}_pair") as name:
            with connected_to(name):
                token = RunningProduct(one).tenant(TENANT).token(Scope)
            copy_to_another_server(name, postgres.owner_url)
        for product in (one, other):
            up.callback(product.stop)
            product.start_control_worker()
            product.start_clock()
            product.start_web()
        for product in (one, other):
            product.wait_until_ready()
        pair = Pair(postgres, valkey, place, one, other, token, worker_key(settings.WORKER_SECRET, TENANT).text)

        pair.client(one).upload(PIPELINE, first.descriptor, first.artifact)
        client = pair.client(other)
        assert client.verified(PIPELINE, "1.0")["status"] == "REGISTERED"
        pair.host(first, "worker-v1")
        client.activate(PIPELINE, "1.0", "registered through the other one")
        yield pair


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> BuiltRelease:
    return build("pinned:pipeline", PIPELINES / "v1", tmp_path_factory.mktemp("v1"), "1.0")


@pytest.mark.timeout(500)
def test_no_work_is_lost_if_postgresql_or_the_broker_is_killed_and_no_process_ends(pair: Pair, tmp_path: Path) -> None:
    gate = tmp_path / "database"
    execution_ids = pair.begun(gate, 1, 2, 3, 4)
    pair.postgres.kill()
    gate.touch()
    pair.postgres.start()
    for product in (pair.one, pair.other):
        product.wait_until_ready()
    assert pair.results(execution_ids) == [1, 2, 3, 4]

    gate = tmp_path / "broker"
    execution_ids = pair.begun(gate, 5, 6)
    pair.valkey.kill()
    gate.touch()
    execution_ids.append(pair.client(pair.one).submit(PIPELINE, {"number": 7}, "without a broker")["executionId"])
    pair.valkey.remove_data()
    pair.valkey.start()
    assert pair.results(execution_ids) == [5, 6, 7]
    for product in (pair.one, pair.other):
        product.children.require_running()


@pytest.mark.timeout(500)
def test_each_continues_the_work_of_the_other_and_either_may_be_killed(pair: Pair, v2: BuiltRelease) -> None:
    client, other = pair.client(pair.one), pair.client(pair.other)
    first = client.submit(PIPELINE, {"number": 1}, "first")["executionId"]
    assert other.finished(first)["pin"]["releaseVersion"] == "1.0"
    assert other.result(first) == {"number": 1, "made_by": "code v1, attempt 0"}

    # Uploaded through the first coordinator, which is killed before any other request.
    client.upload(PIPELINE, v2.descriptor, v2.artifact)
    between = client.submit(PIPELINE, {"number": 2, "fail_times": 1}, "between")["executionId"]
    kill_all_but_workers(pair.one)
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
    client = pair.client(pair.one)
    kill_all_but_workers(pair.other)
    third = client.submit(PIPELINE, {"number": 4}, "third")["executionId"]
    assert client.finished(third)["pin"]["releaseVersion"] == "2.0"
    assert client.execution(second)["status"] == "SUCCEEDED"

    assert pair.stored() == 2


def kill_all_but_workers(product: Product) -> None:
    """Kill the processes of a coordinator with SIGKILL, like the loss of its host."""
    for child in [child for child in product.children.started if not child.name.startswith("worker-")]:
        child.kill()
        product.children.started.remove(child)
