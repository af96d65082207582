"""REST workers that accept connections but never respond delay only their own releases."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.parts.product.conftest import product_with_own_broker
from tests.running import REST_PORT, BuiltRelease, RunningProduct, TenantInUse, eventually
from wire.messages.rest_messages import PROTOCOL_VERSION

HANGING = 8
REQUESTS = 24


@contextmanager
def hanging() -> Iterator[int]:
    """Yield a port that accepts connections and sends nothing."""
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
            created = product.tenant(f"{name}-hangs"), product.tenant(name)
            yield *created, port
            created[1].stop_workers()


def host(tenant: TenantInUse, release: BuiltRelease, worker: str, port: int) -> None:
    body = {
        "pipelineId": release.pipeline_id,
        "contractVersion": release.document["contractVersion"],
        "releaseVersion": release.version,
        "workerId": worker,
        "endpoint": f"http://127.0.0.1:{port}",
    }
    response = tenant.http.post(tenant.url("workers"), json=body)
    assert response.status_code == 200, response.text


def test_workers_that_never_respond_delay_no_request_and_no_check_of_other_workers(
    tenants: tuple[TenantInUse, TenantInUse, int], v1: BuiltRelease
) -> None:
    hangs, other, port = tenants
    for tenant in (hangs, other):
        tenant.register(v1)
        tenant.activate(v1)
    for number in range(HANGING):
        host(hangs, v1, f"worker-{number}", port)

    def refused(number: int) -> tuple[int, str]:
        response = hangs.submit(v1.pipeline_id, {"number": number}, f"k{number}")
        return response.status_code, response.headers["Retry-After"]

    began = time.monotonic()
    with ThreadPoolExecutor(REQUESTS) as pool:
        assert set(pool.map(refused, range(REQUESTS))) == {(503, "5")}
    assert time.monotonic() - began < 5

    other.start_rest_worker(v1, "responsive")
    host(other, v1, "responsive", REST_PORT)
    began = time.monotonic()

    def accepted() -> str | None:
        response = other.submit(v1.pipeline_id, {"number": 1}, "k")
        return response.json()["executionId"] if response.status_code == 202 else None

    made = eventually(accepted, seconds=15, what="a submission to be accepted")
    other.wait_for(made, "SUCCEEDED", seconds=10)
    assert time.monotonic() - began < 20

    def errors() -> set[str]:
        return {worker["capabilityError"] for worker in hangs.get("workers")["items"]}

    eventually(lambda: "no complete response in time" in "".join(errors()), what="the error of a hanging worker")


@contextmanager
def hanging_in_calls(release: BuiltRelease) -> Iterator[tuple[int, list[float]]]:
    """Run a REST worker that confirms its release but never responds to a command. Yield its port and its calls."""
    calls: list[float] = []
    ended = threading.Event()
    capabilities = {
        "protocolVersion": PROTOCOL_VERSION,
        "pipelineId": release.pipeline_id,
        "contractVersion": release.document["contractVersion"],
        "releaseVersion": release.version,
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = json.dumps(capabilities).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            calls.append(time.monotonic())
            ended.wait(100)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], calls
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def test_calls_without_a_response_delay_no_other_tenant(
    running: RunningProduct, tmp_path: Path, name: str, v1: BuiltRelease
) -> None:
    """They delay neither Celery workers nor REST workers. Calls that wait for a free place keep their leases."""
    with hanging_in_calls(v1) as (port, calls):
        settings = {
            "REST_WORKER_ORIGINS": f"http://127.0.0.1:{port},http://127.0.0.1:{REST_PORT}",
            "REST_WORKER_TIMEOUT_SECONDS": "30",
            "REST_WORKER_CAPACITY": "8",
            "LEASE_SECONDS": "30",
            "WORKER_STALE_SECONDS": "30",
        }
        with product_with_own_broker(running, tmp_path, settings) as (product, _):
            hangs, celery, rest = (product.tenant(f"{name}-{kind}") for kind in ("hangs", "celery", "rest"))
            for tenant in (hangs, celery, rest):
                tenant.register(v1)
                tenant.activate(v1)
            try:
                celery.start_worker(v1, "worker")
                rest.start_rest_worker(v1, "responsive")
                host(rest, v1, "responsive", REST_PORT)
                for number in range(2):
                    host(hangs, v1, f"worker-{number}", port)

                def is_accepted(tenant: TenantInUse) -> bool:
                    return tenant.submit(v1.pipeline_id, {"number": 1}, "first").status_code == 202

                for tenant in (hangs, celery, rest):
                    eventually(partial(is_accepted, tenant), seconds=20, what="a submission to be accepted")
                for number in range(24):
                    hangs.submit(v1.pipeline_id, {"number": number}, f"k{number}")
                eventually(lambda: calls, what="a call")

                def is_claimed_up_to_the_capacity() -> bool:
                    found = hangs.get("executions")["items"]
                    return len([each for each in found if each["status"] == "RUNNING"]) == 16  # eight for each worker

                eventually(is_claimed_up_to_the_capacity, seconds=20, what="calls that wait for a free place")
                began = time.monotonic()
                for tenant in (celery, rest):
                    execution_id = tenant.accepted("tests.pinned", {"number": 1}, "during")["executionId"]
                    tenant.wait_for(execution_id, "SUCCEEDED", seconds=60)
                assert time.monotonic() - began < 8
            finally:
                celery.stop_workers()
                rest.stop_workers()
