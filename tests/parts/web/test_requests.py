"""Unusual and large requests get a response."""

from pathlib import Path

import pytest

from tests.parts.web.conftest import peaks, published
from tests.parts.web.talking import statuses
from tests.running import RunningProduct, TenantInUse

MEBIBYTE = 2**20
CLOSE = b"Host: 127.0.0.1\r\nConnection: close\r\n"
HEALTH = b"GET /health/ready HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("executions%2Fx", 404),
        ("pipelines/a%00b", 404),
        ("pipelines/%zz", 404),
        ("executions?pipelineId=a%00b", 400),
    ],
)
def test_unusual_escapes_in_a_url(tenant: TenantInUse, path: str, status: int) -> None:
    begin = f"GET /api/v1/tenants/{tenant.tenant.slug}/{path} HTTP/1.1\r\n".encode()
    token = f"Authorization: {tenant.http.headers['Authorization']!s}\r\n\r\n".encode()
    assert statuses(tenant.product.port, begin + CLOSE + token) == [status]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (HEALTH + b"Host: evil.example\r\nConnection: close\r\n\r\n", [400]),
        (HEALTH + b"Host: 127.0.0.1\r\n\r\n" + HEALTH + CLOSE + b"\r\n", [200, 200]),
        (HEALTH + CLOSE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", [400]),
        (HEALTH + CLOSE + b"X: " + b"x" * MEBIBYTE + b"\r\n\r\n", [431]),
        (b"GET /?" + b"x" * 100 * 1024 + b" HTTP/1.1\r\n" + CLOSE + b"\r\n", [414]),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", [400]),
    ],
    ids=["other-host", "pipelined", "two-lengths", "large", "long", "tls"],
)
def test_unusual_requests(running: RunningProduct, sent: bytes, expected: list[int]) -> None:
    assert statuses(running.product.port, sent) == expected


def test_a_large_upload_is_never_held_in_memory(running: RunningProduct, tenant: TenantInUse, tmp_path: Path) -> None:
    [web] = [child.pid for child in running.product.children.started if child.name == "web"]
    before = peaks(web)
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(256 * MEBIBYTE)
    published(running.url, tenant, tmp_path / "large.bin")
    grown = [peak - before[pid] for pid, peak in peaks(web).items()]
    assert max(grown) < 64 * MEBIBYTE
