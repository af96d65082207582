"""REST workers that accept connections and never answer delay only their own releases."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import product_with_own_broker
from tests.running import REST_PORT, BuiltRelease, RunningProduct, TenantInUse, eventually

HANGING = 8
REQUESTS = 24


@contextmanager
def hanging() -> Iterator[int]:
    """A port that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


@pytest.fixture
def tenants(running: RunningProduct, tmp_path: Path, name: str) -> Iterator[tuple[TenantInUse, TenantInUse, int]]:
    with hanging() as port:
        settings = {
            "REST_WORKER_ORIGINS": f"http://127.0.0.1:{port},http://127.0.0.1:{REST_PORT}",
            "REST_WORKER_TIMEOUT_SECONDS": "30",
            "SUBMISSION_CACHE_SECONDS": "0",
        }
        with product_with_own_broker(running, tmp_path, settings) as (product, _):
            made = product.tenant(f"{name}-hangs"), product.tenant(name)
            yield *made, port
            made[1].stop_workers()


def host(tenant: TenantInUse, release: BuiltRelease, worker: str, port: int) -> None:
    body = {
        "pipelineId": release.pipeline_id,
        "contractVersion": release.document["contractVersion"],
        "releaseVersion": release.version,
        "workerId": worker,
        "endpoint": f"http://127.0.0.1:{port}",
    }
    answer = tenant.http.post(tenant.url("workers"), json=body)
    assert answer.status_code == 200, answer.text


def test_workers_that_never_answer_delay_no_request_and_no_other_check(
    tenants: tuple[TenantInUse, TenantInUse, int], v1: BuiltRelease
) -> None:
    hangs, other, port = tenants
    for tenant in (hangs, other):
        tenant.register(v1)
        tenant.activate(v1)
    for number in range(HANGING):
        host(hangs, v1, f"worker-{number}", port)

    def refused(number: int) -> tuple[int, str]:
        answer = hangs.submit(v1.pipeline_id, {"number": number}, f"k{number}")
        return answer.status_code, answer.headers["Retry-After"]

    began = time.monotonic()
    with ThreadPoolExecutor(REQUESTS) as pool:
        assert set(pool.map(refused, range(REQUESTS))) == {(503, "5")}
    assert time.monotonic() - began < 5

    other.start_rest_worker(v1, "answers")
    host(other, v1, "answers", REST_PORT)
    began = time.monotonic()

    def accepted() -> str | None:
        answer = other.submit(v1.pipeline_id, {"number": 1}, "k")
        return answer.json()["executionId"] if answer.status_code == 202 else None

    made = eventually(accepted, seconds=15, what="a submission to be accepted")
    other.wait_for(made, "SUCCEEDED", seconds=10)
    assert time.monotonic() - began < 20

    def errors() -> set[str]:
        return {worker["capabilityError"] for worker in hangs.get("workers")["items"]}

    eventually(lambda: "no whole answer came in time" in "".join(errors()), what="the verdict on a worker that hangs")
