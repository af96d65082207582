"""While PostgreSQL is down or accepts no connections, every response is a 503 with Retry-After."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests

from tests.building import eventually
from tests.parts.recovery.cluster import TENANT, TPF_TOKEN, Cluster

SUBMISSION = {"pipelineId": "none", "input": {}, "idempotencyKey": "k"}


def responses(cluster: Cluster) -> Iterator[tuple[str, requests.Response]]:
    """Yield one response of each interface with the format of its errors."""
    api, admin = {"Authorization": f"Bearer {cluster.token}"}, f"{cluster.product.url}/admin/login/"
    tpf = f"{cluster.product.url}/tpf/control-plane/tenants/{TENANT}/executions/x"
    base = f"{cluster.product.url}/api/v1/tenants/{TENANT}"
    yield "problem", requests.get(f"{base}/executions", headers=api, timeout=30)
    yield "problem", requests.post(f"{base}/executions", headers=api, json=SUBMISSION, timeout=30)
    yield "problem", requests.post(f"{base}/executions:batch", headers=api, json={"items": [SUBMISSION]}, timeout=30)
    yield "The database is unavailable", requests.get(tpf, headers={"Authorization": f"Bearer {TPF_TOKEN}"}, timeout=30)
    yield "The coordinator is not available", requests.get(admin, cookies={"sessionid": "0" * 32}, timeout=30)
    yield "health", requests.get(f"{cluster.product.url}/health/ready", timeout=30)


def assert_unavailable(format_name: str, response: requests.Response) -> None:
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "5"), response.text
    if format_name == "problem":
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "DATABASE_UNAVAILABLE"
    elif format_name == "health":
        assert (response.json()["status"], response.json()["database"]) == ("DOWN", "DOWN")
    else:
        assert format_name in response.text


@contextmanager
def connection_limit(cluster: Cluster, most: int) -> Iterator[None]:
    """Let the product's role have at most `most` connections in the block. Those that exist stay open."""
    role = urlsplit(cluster.postgres.url).username
    with cluster.connect() as superuser:
        superuser.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT {most}'.encode())
        try:
            yield
        finally:
            superuser.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT -1'.encode())


def log_lines(cluster: Cluster) -> int:
    return len((cluster.product.folder / "logs" / "web.log").read_text().splitlines())


def test_without_its_database_every_interface_responds_503_in_its_own_format(cluster: Cluster) -> None:
    cluster.restart("web")
    cluster.product.wait_until_ready()
    with connection_limit(cluster, 0):
        before = log_lines(cluster)
        for _ in range(50):
            for format_name, response in responses(cluster):
                assert_unavailable(format_name, response)
        # There were 300 errors. Each of two processes logs at most five tracebacks of each kind.
        assert log_lines(cluster) - before < 6 * 2 * 5 * 100
    cluster.postgres.kill()
    try:
        for format_name, response in responses(cluster):
            assert_unavailable(format_name, response)
        assert requests.get(f"{cluster.product.url}/health/live", timeout=30).status_code == 200
    finally:
        cluster.postgres.start()
    eventually(lambda: requests.get(f"{cluster.product.url}/health/ready", timeout=5).ok, what="ready again")


def test_without_the_broker_the_readiness_probe_passes_and_reports_it(cluster: Cluster) -> None:
    ready = f"{cluster.product.url}/health/ready"
    cluster.valkey.stop()
    try:
        response = requests.get(ready, timeout=5)
        assert (response.status_code, response.json()["status"], response.json()["broker"]) == (200, "UP", "DOWN")
    finally:
        cluster.valkey.start()
    eventually(lambda: requests.get(ready, timeout=5).json()["broker"] == "UP", what="the broker to be reported as UP")


def test_a_process_that_may_open_too_many_connections_warns_at_its_start(cluster: Cluster) -> None:
    with connection_limit(cluster, 10):
        cluster.restart("control-1")
        eventually(
            lambda: "connections to the database" in cluster.process("control-1").log_tail(100), what="a warning"
        )
