"""Downloads of artifacts from the real web process: framing, memory, slow clients, and bytes that break off."""

import hashlib
import http.client
import json
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection

from embedded.children import Child
from embedded.guard import descendants
from embedded.product import Product
from pipelines.release.publish import Target, publish
from releases.artifacts.store.local import LocalArtifactStore
from tenancy.roles import Scope
from tests.parts.web.conftest import start_web
from tests.parts.web.talking import opened
from tests.running import TenantInUse, eventually

MEBIBYTE = 2**20
SIZE = 64 * MEBIBYTE
PROMPT = 5.0
"""The longest time for a response, on a busy machine with two cores, in seconds."""
SLOW = "127.0.0.2"
"""The address of slow clients."""


@pytest.fixture
def web(own: Product, tenant: TenantInUse) -> Child:
    own.environment["ARTIFACT_ROOT"] = tenant.product.environment["ARTIFACT_ROOT"]
    return start_web(own)


@pytest.fixture
def digest(own: Product, web: Child, tenant: TenantInUse, tmp_path: Path) -> str:
    """The digest of a large stored artifact."""
    folder = tmp_path / "dist"
    folder.mkdir()
    with (folder / "large.bin").open("wb+") as file:
        for _ in range(SIZE // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
        file.seek(0)
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    document = {
        "schemaVersion": 1,
        "pipelineId": "org.example.large",
        "contractVersion": "1",
        "releaseVersion": "1",
        "artifacts": [{"artifactId": "large", "kind": "native-binary", "uri": "large.bin", "digest": found}],
    }
    (folder / "pipeline-release.json").write_text(json.dumps(document))
    target = Target(own.url, tenant.tenant.slug, tenant.token([Scope.READ, Scope.REGISTER]))
    release = publish(folder, target, progress=lambda done, total: None, direct_bytes=2**40)
    assert release["status"] == "REGISTERED", release["findings"]
    return found


def stored(own: Product, digest: str) -> Path:
    return LocalArtifactStore(Path(own.environment["ARTIFACT_ROOT"])).file(digest)


def path_of(tenant: TenantInUse, digest: str) -> str:
    return f"/api/v1/tenants/{tenant.tenant.slug}/artifacts/{digest}"


def headers(tenant: TenantInUse, **more: str) -> dict[str, str]:
    return {"Authorization": str(tenant.http.headers["Authorization"]), **more}


def request(tenant: TenantInUse, digest: str) -> bytes:
    lines = [f"GET {path_of(tenant, digest)} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers(tenant).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def peaks(web: Child) -> dict[int, int]:
    """Return the peak memory of each web process in bytes."""
    found = {}
    for pid in descendants(web.guard_pid):
        status = Path(f"/proc/{pid}/status").read_text()
        found[pid] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return found


def stopped(own: Product, tenant: TenantInUse, digest: str) -> socket.socket:
    """Return the connection of a client that has read the beginning of an artifact, and reads no more."""
    connection = opened(own.port, source=SLOW)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.sendall(request(tenant, digest))
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_each_kind_of_response_is_framed_so_that_the_connection_can_be_reused(
    own: Product, tenant: TenantInUse, digest: str
) -> None:
    data = stored(own, digest).read_bytes()
    kept = http.client.HTTPConnection("127.0.0.1", own.port, timeout=60)
    path, tag = path_of(tenant, digest), f'"{digest}"'

    def answer(method: str, **more: str) -> tuple[int, dict[str, str], bytes]:
        kept.request(method, path, headers=headers(tenant, **{name.replace("_", "-"): more[name] for name in more}))
        response = kept.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    status, found, body = answer("HEAD")
    assert (status, found["content-length"], found["etag"], body) == (200, str(SIZE), tag, b"")
    status, found, body = answer("GET", Range="bytes=1000000-1999999")
    assert (status, found["content-length"], body) == (206, "1000000", data[1_000_000:2_000_000])
    assert found["content-range"] == f"bytes 1000000-1999999/{SIZE}"
    status, found, body = answer("GET", If_None_Match=tag)
    assert (status, found["etag"], body) == (304, tag, b"")
    assert "transfer-encoding" not in found
    status, found, body = answer("GET", Range=f"bytes={SIZE}-")
    assert (status, found["content-range"], json.loads(body)["code"]) == (
        416,
        f"bytes */{SIZE}",
        "RANGE_NOT_SATISFIABLE",
    )
    status, found, body = answer("GET")
    assert (status, found["content-length"], hashlib.sha256(body).digest()) == (
        *(200, str(SIZE)),
        hashlib.sha256(data).digest(),
    )
    kept.close()


def test_a_large_download_is_never_held_in_memory(own: Product, web: Child, tenant: TenantInUse, digest: str) -> None:
    before = peaks(web)
    hashed = hashlib.sha256()
    with requests.get(f"{own.url}{path_of(tenant, digest)}", headers=headers(tenant), stream=True, timeout=60) as got:
        for chunk in got.iter_content(MEBIBYTE):
            hashed.update(chunk)
    assert f"sha256:{hashed.hexdigest()}" == digest
    grown = [peak - before.get(pid, 0) for pid, peak in peaks(web).items()]
    assert max(grown) < 32 * MEBIBYTE, grown


def sessions(own: Product) -> list[Any]:
    """Return the state and the query of each database session of `own` that is not idle."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND state <> 'idle'"
        )
        return list(cursor.fetchall())


def count_of_sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def test_clients_that_stop_reading_hold_neither_a_slot_nor_a_database_session(
    own: Product, web: Child, tenant: TenantInUse, digest: str
) -> None:
    before, memory = count_of_sessions(), peaks(web)
    with ExitStack() as held:
        for _ in range(80):
            held.enter_context(stopped(own, tenant, digest))
        for _ in range(20):
            began = time.monotonic()
            assert requests.get(f"{own.url}/health/ready", timeout=30).ok
            assert time.monotonic() - began < PROMPT
        # Two processes with 16 slots each have at most as many sessions.
        assert count_of_sessions() - before <= 2 * 16
        eventually(lambda: not [each for each in sessions(own) if "transaction" in each[0]], what="no transaction")
        grown = [peak - memory.get(pid, 0) for pid, peak in peaks(web).items()]
    assert max(grown) < 80 * MEBIBYTE, "one web process may have got all of them"


def test_the_clients_that_stop_reading_are_limited(own: Product, tenant: TenantInUse, digest: str) -> None:
    def answer() -> requests.Response:
        url = f"{own.url}{path_of(tenant, digest)}"
        return requests.get(url, headers=headers(tenant, Range="bytes=0-9"), timeout=60)

    def refused() -> bool:
        connection = opened(own.port, source=SLOW)
        connection.settimeout(60)
        connection.sendall(request(tenant, digest))
        begin = held.enter_context(connection).recv(12)
        assert begin in {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        return begin.endswith(b"503")

    with ExitStack() as held:
        assert any(refused() for _ in range(600)), "one client may take a quarter of the places of each process"
        assert answer().status_code == 206, "another client is served"
    with stopped(own, tenant, digest):
        pass


def test_bytes_that_break_off_break_the_connection(own: Product, tenant: TenantInUse, digest: str) -> None:
    """The last byte is wrong, which no scrub has found. The client never gets a complete body."""
    path = stored(own, digest)
    path.chmod(0o600)
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        [last] = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    received: list[int] = []
    with requests.get(f"{own.url}{path_of(tenant, digest)}", headers=headers(tenant), stream=True, timeout=60) as got:
        assert got.status_code == 200
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            received.extend(len(chunk) for chunk in got.iter_content(65536))
    assert 0 < sum(received) < SIZE
