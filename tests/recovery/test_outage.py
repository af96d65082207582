"""While PostgreSQL is away, or accepts no more connections, every answer is a 503 that says when to try again."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from tests.building import eventually
from tests.recovery.cluster import TENANT, TPF_TOKEN, Cluster

SUBMISSION = {"pipelineId": "none", "input": {}, "idempotencyKey": "k"}
MANY = 200
LIMIT, OTHERS = 30, 25


def answers(cluster: Cluster) -> Iterator[tuple[str, requests.Response]]:
    """One answer of each kind of surface, by the form that an error has there."""
    api, admin = {"Authorization": f"Bearer {cluster.token}"}, f"{cluster.product.url}/admin/login/"
    tpf = f"{cluster.product.url}/tpf/control-plane/tenants/{TENANT}/executions/x"
    base = f"{cluster.product.url}/api/v1/tenants/{TENANT}"
    yield "problem", requests.get(f"{base}/executions", headers=api, timeout=30)
    yield "problem", requests.post(f"{base}/executions", headers=api, json=SUBMISSION, timeout=30)
    yield "problem", requests.post(f"{base}/executions:batch", headers=api, json={"items": [SUBMISSION]}, timeout=30)
    yield "text", requests.get(tpf, headers={"Authorization": f"Bearer {TPF_TOKEN}"}, timeout=30)
    yield "page", requests.get(admin, cookies={"sessionid": "0" * 32}, timeout=30)
    yield "health", requests.get(f"{cluster.product.url}/health/ready", timeout=30)


def assert_unavailable(form: str, answer: requests.Response) -> None:
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), answer.text
    if form == "problem":
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "DATABASE_UNAVAILABLE"
    elif form == "text":
        assert answer.text == "The database is unavailable"
    elif form == "page":
        assert "The coordinator is not available" in answer.text
    else:
        assert answer.json() == {"status": "DOWN", "database": "DOWN", "broker": "UP", "artifactStore": "UP"}


@contextmanager
def exhausted(cluster: Cluster) -> Iterator[None]:
    """Within the block PostgreSQL accepts no more connections of the product."""
    with ExitStack() as held:
        try:
            for _ in range(MANY):
                held.enter_context(psycopg.connect(cluster.postgres.url))
        except psycopg.OperationalError:
            yield
            return
    raise AssertionError("PostgreSQL accepts any number of connections")


def lines(cluster: Cluster) -> int:
    return len((cluster.product.folder / "logs" / "web.log").read_text().splitlines())


def test_without_its_database_every_surface_answers_503_in_its_own_form(cluster: Cluster) -> None:
    cluster.postgres.kill()
    try:
        for form, answer in answers(cluster):
            assert_unavailable(form, answer)
        assert requests.get(f"{cluster.product.url}/health/live", timeout=30).status_code == 200
    finally:
        cluster.postgres.start()
    eventually(lambda: requests.get(f"{cluster.product.url}/health/ready", timeout=5).ok, what="ready again")


def test_without_a_free_connection_nothing_is_answered_500_and_the_log_stays_short(cluster: Cluster) -> None:
    cluster.restart("web")
    cluster.product.wait_until_ready()
    with exhausted(cluster):
        before = lines(cluster)
        for _ in range(50):
            for form, answer in answers(cluster):
                assert_unavailable(form, answer)
        # At most five tracebacks of each kind in each of two processes, where there were 300 errors.
        assert lines(cluster) - before < 6 * 2 * 5 * 100
    assert requests.get(f"{cluster.product.url}/health/ready", timeout=5).ok


def test_without_broker_and_store_the_probe_passes_and_says_so(cluster: Cluster) -> None:
    cluster.valkey.stop()
    try:
        answer = requests.get(f"{cluster.product.url}/health/ready", timeout=5)
        assert answer.status_code == 200
        assert answer.json() == {"status": "UP", "database": "UP", "broker": "DOWN", "artifactStore": "UP"}
    finally:
        cluster.valkey.start()
    eventually(
        lambda: requests.get(f"{cluster.product.url}/health/ready", timeout=5).json()["broker"] == "UP",
        what="the broker reported as back",
    )


@pytest.fixture
def few_connections(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL accepts LIMIT connections of the product's role, and others have OTHERS open."""
    with cluster.connect() as superuser, ExitStack() as others:
        for _ in range(OTHERS):
            others.enter_context(cluster.connect())
        superuser.execute(f'ALTER ROLE "{role_of(cluster)}" CONNECTION LIMIT {LIMIT}'.encode())
        yield
        superuser.execute(f'ALTER ROLE "{role_of(cluster)}" CONNECTION LIMIT -1'.encode())


def role_of(cluster: Cluster) -> str:
    return str(urlsplit(cluster.postgres.url).username)


@pytest.mark.parametrize(("name", "wanted"), [("web", 36), ("control-1", 14)])
@pytest.mark.usefixtures("few_connections")
def test_a_process_that_may_open_too_many_connections_warns_as_it_starts(
    cluster: Cluster, name: str, wanted: int
) -> None:
    cluster.restart(name)
    eventually(
        lambda: f"may open {wanted} connections to the database" in cluster.process(name).log_tail(100),
        what="the warning",
    )
