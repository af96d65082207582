"""Slow, unusual and large requests get a response, and do not delay others."""

import hashlib
import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from embedded.guard import descendants
from pipelines.release.publish import Target, publish
from tenancy.roles import Scope
from tests.parts.web.talking import opened, statuses
from tests.running import RunningProduct, TenantInUse

MEBIBYTE = 2**20
SOON = 3
CLOSE = b"Host: 127.0.0.1\r\nConnection: close\r\n"
HEALTH = b"GET /health/ready HTTP/1.1\r\n"


def is_served(running: RunningProduct) -> bool:
    return requests.get(f"{running.url}/health/ready", timeout=SOON).ok


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("executions", 200),
        ("executions%2Fx", 404),
        ("pipelines/a%00b", 404),
        ("pipelines/%ff%fe", 404),
        ("pipelines/%zz", 404),
        ("executions?pipelineId=a%00b", 400),
        ("executions?pipelineId=%ff", 200),
    ],
)
def test_unusual_escapes_in_a_url(tenant: TenantInUse, path: str, status: int) -> None:
    begin = f"GET /api/v1/tenants/{tenant.tenant.slug}/{path} HTTP/1.1\r\n".encode()
    token = f"Authorization: {tenant.http.headers['Authorization']!s}\r\n\r\n".encode()
    assert statuses(tenant.product.port, begin + CLOSE + token) == [status]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (HEALTH + b"Connection: close\r\n\r\n", [400]),
        (HEALTH + b"Host: evil.example\r\nConnection: close\r\n\r\n", [400]),
        (b"GET /health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", [200]),
        (b"HEAD /health/ready HTTP/1.1\r\n" + CLOSE + b"\r\n", [200]),
        (HEALTH + b"Host: 127.0.0.1\r\n\r\n" + HEALTH + CLOSE + b"\r\n", [200, 200]),
        (HEALTH + CLOSE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", [400]),
        (HEALTH + CLOSE + b"X: \xe9\xff\r\n\r\n", [200]),
        (HEALTH + CLOSE + b"X: " + b"x" * MEBIBYTE + b"\r\n\r\n", [431]),
        (b"GET /?" + b"x" * 100 * 1024 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n", [414]),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", [400]),
    ],
    ids=["no-host", "other-host", "1.0", "head", "pipelined", "two-lengths", "latin-1", "large", "long", "tls"],
)
def test_unusual_requests(running: RunningProduct, sent: bytes, expected: list[int]) -> None:
    assert statuses(running.product.port, sent) == expected


def test_a_body_that_is_sent_after_100_continue(tenant: TenantInUse) -> None:
    body = b'{"pipelineId": "none", "input": {}, "idempotencyKey": "k"}'
    head = (
        f"POST /api/v1/tenants/{tenant.tenant.slug}/executions HTTP/1.1\r\nContent-Type: application/json\r\n"
        f"Authorization: {tenant.http.headers['Authorization']!s}\r\nContent-Length: {len(body)}\r\n"
    )
    sent = head.encode() + CLOSE + b"Expect: 100-continue\r\n\r\n"
    assert statuses(tenant.product.port, sent, body) == [100, 404]


def test_incomplete_requests_do_not_block_others(running: RunningProduct) -> None:
    """A hundred connections that stop in their header hold no thread; eight that stop in their body hold one each."""
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(opened(running.product.port, HEALTH + b"Hos"))
        for _ in range(8):
            body = b"POST /admin/login/ HTTP/1.1\r\n" + CLOSE
            form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\na="
            held.enter_context(opened(running.product.port, body + form))
        assert all(is_served(running) for _ in range(20))


def test_a_large_upload_is_never_held_in_memory(running: RunningProduct, tenant: TenantInUse, tmp_path: Path) -> None:
    [web] = [child.pid for child in running.product.children.started if child.name == "web"]
    before = peaks(web)
    target = Target(running.url, tenant.tenant.slug, tenant.token([Scope.READ, Scope.REGISTER]))
    release = publish(of_zeros(tmp_path / "dist", 256), target, progress=lambda done, total: None, direct_bytes=2**40)
    assert release["status"] == "REGISTERED"
    grown = [peak - before[pid] for pid, peak in peaks(web).items()]
    assert max(grown) < 64 * MEBIBYTE


def peaks(root: int) -> dict[int, int]:
    """Return the peak memory of each descendant of `root` in bytes."""
    found = {}
    for pid in descendants(root):
        [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
        found[pid] = int(line.split()[1]) * 1024
    return found


def of_zeros(folder: Path, mebibytes: int) -> Path:
    """Return a release of a sparse file that is no archive."""
    folder.mkdir()
    with (folder / "large.bin").open("wb+") as file:
        file.truncate(mebibytes * MEBIBYTE)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    artifact = {"artifactId": "large", "kind": "native-binary", "uri": "large.bin", "digest": f"sha256:{digest}"}
    document = {
        "schemaVersion": 1,
        "pipelineId": "org.example.large",
        "contractVersion": "1",
        "releaseVersion": "1",
        "artifacts": [artifact],
    }
    (folder / "pipeline-release.json").write_text(json.dumps(document))
    return folder
