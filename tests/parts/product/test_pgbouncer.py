from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from embedded.valkey import Valkey
from tests.database_template import connected_to, database
from tests.e2e.orders import PIPELINE, build_orders
from tests.pgbouncer import pgbouncer
from tests.running import BuiltRelease, RunningProduct, TenantInUse, another_product, eventually
from tests.servers import NUMBER, ordinary_url

POOL = 4
EXECUTIONS = 60


@pytest.fixture
def tenant(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path: Path, gathered_static_files: str, name: str
) -> Iterator[TenantInUse]:
    """A tenant of a product whose processes reach the database only through PgBouncer."""
    with (
        database(f"test_{NUMBER}_pooled") as made,
        connected_to(made),
        pgbouncer(ordinary_url(made), pool=POOL) as url,
        Valkey(tmp_path / "valkey", durable=False) as valkey,
    ):
        settings = {
            "DATABASE_POOLER": "transaction",
            "STATIC_ROOT": gathered_static_files,
            "SWEEP_SECONDS": "0.5",
            "LEASE_SECONDS": "3",
            "RETRY_DELAY_SECONDS": "0.5",
            "RETENTION_DAYS": "1",
        }
        servers = {"DATABASE_URL": url, "REDIS_URL": valkey.url, "REDIS_OWNER_URL": valkey.owner_url}
        with another_product(tmp_path, servers, settings) as product, django_db_blocker.unblock():
            product.start()
            yield RunningProduct(product).tenant(name)


def sessions(tenant: TenantInUse) -> tuple[int, int]:
    """Return how many sessions of the database the product has, and the most prepared statements of one."""
    with psycopg.connect(tenant.product.servers["DATABASE_URL"], prepare_threshold=None) as connection:
        [[count]] = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
        ).fetchall()
        [[prepared]] = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    return count, prepared


@pytest.mark.timeout(500)
def test_the_journey_of_a_release_and_its_executions(tenant: TenantInUse, v1: BuiltRelease, tmp_path: Path) -> None:
    tenant.host(v1, "worker")

    def submit(number: int) -> str:
        value = {"number": number, "fail_times": 1 if number % 20 == 0 else 0}
        return str(tenant.accepted(v1.pipeline_id, value, f"key-{number}")["executionId"])

    with ThreadPoolExecutor(10) as clients:
        submitted = list(clients.map(submit, range(EXECUTIONS)))
    repeated = tenant.submit(v1.pipeline_id, {"number": 0, "fail_times": 1}, "key-0")
    assert (repeated.status_code, repeated.json()["executionId"]) == (200, submitted[0])
    for execution_id in submitted:
        tenant.wait_for(execution_id, "SUCCEEDED", seconds=60)
    count, prepared = sessions(tenant)
    assert count <= POOL
    assert prepared <= 20

    orders = build_orders(tmp_path / "orders", "1.0")
    tenant.host(orders, "worker-orders")
    value = {"number": 4, "folder": str(tmp_path), "questions": 1}
    waiting = tenant.accepted(PIPELINE, value, "k")["executionId"]
    path = f"questions?status=pending&executionId={waiting}"
    [question] = eventually(lambda: tenant.get(path)["items"], what="the question")
    tenant.post("questions/answer", questionId=question["questionId"], response={"note": "fine"})
    tenant.wait_for(waiting, "SUCCEEDED")
    assert tenant.result(waiting)["notes"] == ["fine"]

    exported = tenant.http.get(tenant.url("audit/export?format=ndjson"))
    assert exported.status_code == 200, exported.text
    assert len(exported.text.splitlines()) > 3
    tenant.product.manage("sweep_artifacts", "--remove", "--older-than-hours=0")
    assert tenant.get(f"pipelines/{v1.pipeline_id}/releases/1.0")["status"] == "REGISTERED"
    assert not errors(tenant), errors(tenant)


def errors(tenant: TenantInUse) -> list[str]:
    """Return the lines of the logs that tell of errors of the database."""
    signs = ("prepared statement", "psycopg", "ProgrammingError", "OperationalError", "DataError")
    logs = (tenant.product.folder / "logs").glob("*.log")
    return [line for log in logs for line in log.read_text().splitlines() if any(sign in line for sign in signs)]
