import hashlib
import http.client
import json
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from django.db import connection

from embedded.children import Child
from embedded.product import Product
from releases.artifacts.local_store import LocalArtifactStore
from tests.parts.web.conftest import opened, peaks, published, start_web
from tests.running import TenantInUse

MEBIBYTE = 2**20
SIZE = 64 * MEBIBYTE
PROMPT = 5.0
"""The longest time for a response, on a busy machine with two cores, in seconds."""
SLOW = "127.0.0.2"
"""The address of slow clients."""


@pytest.fixture
def web(product: Product, tenant: TenantInUse) -> Child:
    product.environment["ARTIFACT_ROOT"] = tenant.product.environment["ARTIFACT_ROOT"]
    return start_web(product)


@pytest.fixture
def digest(product: Product, web: Child, tenant: TenantInUse, tmp_path: Path) -> str:
    (tmp_path / "large.bin").write_bytes(os.urandom(SIZE))
    return published(product.url, tenant, tmp_path / "large.bin")


def stored(product: Product, digest: str) -> Path:
    return LocalArtifactStore(Path(product.environment["ARTIFACT_ROOT"])).file(digest)


def path_of(tenant: TenantInUse, digest: str) -> str:
    return f"/api/v1/tenants/{tenant.tenant.slug}/artifacts/{digest}"


def headers(tenant: TenantInUse, **more: str) -> dict[str, str]:
    return {"Authorization": str(tenant.http.headers["Authorization"]), **more}


def request(tenant: TenantInUse, digest: str) -> bytes:
    lines = [f"GET {path_of(tenant, digest)} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers(tenant).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def stopped(product: Product, tenant: TenantInUse, digest: str) -> socket.socket:
    """Return the connection of a client that has read the beginning of an artifact, and reads no more."""
    connection = opened(product.port, source=SLOW)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.sendall(request(tenant, digest))
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_each_response_is_framed_for_a_reused_connection(product: Product, tenant: TenantInUse, digest: str) -> None:
    data = stored(product, digest).read_bytes()
    kept = http.client.HTTPConnection("127.0.0.1", product.port, timeout=60)
    path, tag = path_of(tenant, digest), f'"{digest}"'

    def answer(method: str, **more: str) -> tuple[int, dict[str, str], bytes]:
        kept.request(method, path, headers=headers(tenant, **{name.replace("_", "-"): more[name] for name in more}))
        response = kept.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    status, fields, body = answer("HEAD")
    assert (status, fields["content-length"], fields["etag"], body) == (200, str(SIZE), tag, b"")
    status, fields, body = answer("GET", Range="bytes=1000000-1999999")
    assert (status, fields["content-length"], body) == (206, "1000000", data[1_000_000:2_000_000])
    assert fields["content-range"] == f"bytes 1000000-1999999/{SIZE}"
    status, fields, body = answer("GET", If_None_Match=tag)
    assert (status, fields["etag"], body) == (304, tag, b"")
    assert "transfer-encoding" not in fields
    status, fields, body = answer("GET", Range=f"bytes={SIZE}-")
    assert (status, fields["content-range"]) == (416, f"bytes */{SIZE}")
    assert json.loads(body)["code"] == "RANGE_NOT_SATISFIABLE"
    status, fields, body = answer("GET")
    assert (status, fields["content-length"]) == (200, str(SIZE))
    assert hashlib.sha256(body).digest() == hashlib.sha256(data).digest()
    kept.close()


def count_of_sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_stalled_clients_hold_no_slot_or_session(
    product: Product, web: Child, tenant: TenantInUse, digest: str
) -> None:
    before, memory = count_of_sessions(), peaks(web.guard_pid)
    with ExitStack() as held:
        for _ in range(80):
            held.enter_context(stopped(product, tenant, digest))
        for _ in range(20):
            began = time.monotonic()
            assert requests.get(f"{product.url}/health/ready", timeout=30).ok
            assert time.monotonic() - began < PROMPT
        # Two processes with 16 slots each have at most as many sessions.
        assert count_of_sessions() - before <= 2 * 16
        grown = [peak - memory.get(pid, 0) for pid, peak in peaks(web.guard_pid).items()]
    assert max(grown) < 80 * MEBIBYTE, "one web process may have got all of them"


def test_a_large_upload_is_never_held_in_memory(
    product: Product, web: Child, tenant: TenantInUse, tmp_path: Path
) -> None:
    before = peaks(web.guard_pid)
    with (tmp_path / "larger.bin").open("wb") as file:
        file.truncate(4 * SIZE)
    published(product.url, tenant, tmp_path / "larger.bin")
    grown = [peak - before.get(pid, 0) for pid, peak in peaks(web.guard_pid).items()]
    assert max(grown) < 64 * MEBIBYTE
