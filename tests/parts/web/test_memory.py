"""Large concurrent requests: the memory of the web processes stays bounded and is returned to the system."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from embedded.children import Child
from embedded.guard import descendants
from embedded.product import Product
from tests.parts.web.conftest import start_web
from tests.running import TenantInUse, build, eventually

PIPELINES = Path(__file__).parent / "pipelines"
MB = 1_000_000
INPUTS, INPUT_BYTES = 16, 5 * MB
UPLOADS, ATTACHMENT_BYTES = 24, 8 * MB
DESCRIPTOR: dict[str, Any] = {
    "schemaVersion": 1,
    "pipelineId": "org.example.attached",
    "contractVersion": "1",
    "releaseVersion": "1",
    "artifacts": [
        {"artifactId": "a", "kind": "external-endpoint", "uri": "https://a.example", "digest": f"sha256:{'0' * 64}"}
    ],
}


@pytest.fixture
def web(own: Product, tenant: TenantInUse) -> Child:
    """Web processes that accept inputs of INPUT_BYTES."""
    own.environment["MAX_REQUEST_BYTES"] = str(INPUT_BYTES + 1024)
    own.environment["ARTIFACT_ROOT"] = tenant.product.environment["ARTIFACT_ROOT"]
    return start_web(own)


def resident(web: Child) -> int:
    """Return the resident memory of the web processes in bytes."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in descendants(web.guard_pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def peak(web: Child) -> int:
    """Return the sum of the peak memory of all web processes in bytes."""
    statuses = (Path(f"/proc/{pid}/status").read_text() for pid in descendants(web.guard_pid))
    return sum(int(status.partition("VmHWM:")[2].split()[0]) * 1024 for status in statuses)


def submitting(own: Product, tenant: TenantInUse, pipeline_id: str, text: str) -> Callable[[str], int]:
    """Return a function that submits under a key until the server accepts. It returns the number of rejections."""
    url = tenant.url("executions").replace(tenant.product.url, own.url)

    def submit(key: str) -> int:
        body = {"pipelineId": pipeline_id, "input": text, "idempotencyKey": key}
        for tries in range(600):
            answer = requests.post(url, json=body, headers=tenant.http.headers, timeout=60)
            if answer.status_code == 202:
                return tries
            assert (answer.status_code, answer.json()["code"]) == (503, "LARGE_REQUESTS_BUSY")
            time.sleep(0.2)
        raise AssertionError(f"{key} was never accepted")

    return submit


def test_memory_of_concurrent_large_inputs_is_returned(
    own: Product, web: Child, tenant: TenantInUse, tmp_path: Path
) -> None:
    release = build("text:pipeline", PIPELINES, tmp_path / "release", "1.0")
    tenant.register(release)
    tenant.activate(release)
    tenant.start_worker(release, "w")
    small = submitting(own, tenant, release.pipeline_id, "short")
    large = submitting(own, tenant, release.pipeline_id, os.urandom(INPUT_BYTES // 2).hex())
    try:
        with ThreadPoolExecutor(INPUTS) as pool:
            list(pool.map(small, [f"small-{number}" for number in range(200)]))  # each thread has served a request
            before = resident(web)
            list(pool.map(large, [f"large-{number}" for number in range(INPUTS)]))
        # Dispatching them takes longer. Without limits, each of them kept 18 MB.
        eventually(lambda: resident(web) < before + INPUTS * 4 * MB, seconds=60, what="the return of the memory")
    finally:
        tenant.stop_workers()


def test_parsing_attachments_needs_little_more_memory_than_their_bytes(
    own: Product, web: Child, tenant: TenantInUse
) -> None:
    url = f"{tenant.url('pipelines')}/{DESCRIPTOR['pipelineId']}/releases".replace(tenant.product.url, own.url)
    values = b'{"a": [' + b"{}," * (ATTACHMENT_BYTES // 3 - 10) + b"{}]}"

    def upload(_: int) -> str:
        files: dict[str, Any] = {
            "descriptor": ("pipeline-release.json", json.dumps(DESCRIPTOR)),
            "attachment": ("sbom.json", values),
        }
        answer = requests.post(url, files=files, headers=tenant.http.headers, timeout=120)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        return str(answer.json()["code"])

    with ThreadPoolExecutor(UPLOADS) as pool:
        upload(0)
        before = peak(web)
        assert set(pool.map(upload, range(UPLOADS))) <= {"PAYLOAD_TOO_LARGE", "LARGE_REQUESTS_BUSY"}
    assert peak(web) - before < UPLOADS * 5 * ATTACHMENT_BYTES
