import base64
import hashlib
import logging
import os
from typing import Any

import pytest

from releases.errors import ArtifactStoreUnavailable
from releases.models import Artifact, Blob, Pipeline
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, file, refused, upload
from tests.cases import Log, cases
from tests.releases.registration import located

CONTRACT = making.contract()


def fetch(ours: TenantApi, digest: str, method: str = "GET", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ours.call(method, ours.url(f"artifacts/{digest}"), headers=named)


def body(response: Any) -> bytes:
    """Read the body of a streamed response, which Django's client then closes as the server does."""
    return b"".join(response.streaming_content)


@pytest.fixture
def artifact(ours: TenantApi) -> Artifact:
    return Artifact.objects.get(release=ours.release)


@pytest.fixture
def data(artifact: Artifact) -> bytes:
    return making.stored_file(artifact.digest).read_bytes()


def described(data: bytes) -> dict[str, str]:
    digest = hashlib.sha256(data)
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": 'attachment; filename="app.zip"',
        "ETag": f'"sha256:{digest.hexdigest()}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


def test_the_bytes_have_their_digest_name_and_length(ours: TenantApi, artifact: Artifact, data: bytes) -> None:
    response = fetch(ours, artifact.digest)
    assert (response.status_code, body(response)) == (200, data)
    expected = {**described(data), "Content-Length": str(len(data))}
    assert expected.items() <= dict(response.headers).items()
    assert "Content-Range" not in response.headers
    head = fetch(ours, artifact.digest, "HEAD", Range="bytes=0-1")
    assert (head.status_code, head.content) == (200, b"")
    assert expected.items() <= dict(head.headers).items()
    url, others = ours.url(f"artifacts/{artifact.digest}"), ours.without(Scope.ARTIFACTS)
    assert ours.call("HEAD", url, token=others).status_code == 403


def test_an_artifact_that_a_release_only_identifies_is_known_once_it_is_registered(ours: TenantApi) -> None:
    Pipeline.objects.filter(tenant=ours.tenant).update(missing_artifacts="identity-only")
    data = making.archive(CONTRACT, code="elsewhere")
    release = making.upload(ours.tenant, located.carrier(CONTRACT, data, "5.0")).release
    refused(fetch(ours, making.digest_of(data)), 404, "ARTIFACT_UNKNOWN")
    making.verified(release)
    refused(fetch(ours, making.digest_of(data)), 404, "ARTIFACT_NOT_STORED")


NAMES = {
    "app.zip": 'filename="app.zip"',
    "../../etc/passwd": 'filename="passwd"',
    'a"; filename="b.exe': 'filename="a___filename__b.exe"',
    "a%0D%0Ab.zip": 'filename="a__b.zip"',
    "größe.zip": "filename*=utf-8''gr%C3%B6%C3%9Fe.zip",
    "x" * 300 + ".zip": f'filename="{"x" * 96}.zip"',
}


@cases(("uri", "expected"), NAMES.items())
def test_the_file_name_is_plain_whatever_the_address_of_the_artifact(ours: TenantApi, uri: str, expected: str) -> None:
    archive = making.archive(CONTRACT, code=uri)
    [entry] = making.descriptor(CONTRACT, archive)["artifacts"]
    form = upload("2.0", artifacts=[{**entry, "uri": uri}])
    sent = ours.post("pipelines/{pipeline_id}/releases", {**form, "artifact": file(archive)})
    assert sent.status_code == 202, sent.content
    response = fetch(ours, making.digest_of(archive))
    assert body(response) == archive
    assert response.headers["Content-Disposition"] == f"attachment; {expected}"


SIZE = 100
BYTES = bytes(range(SIZE))
RANGES: dict[str, tuple[int, int] | None] = {
    "bytes=0-0": (0, 1),
    "bytes=99-": (99, 100),
    "bytes=50-" + "9" * 5_000: (50, 100),
    "bytes=-1": (99, 100),
    # These headers are ignored.
    **dict.fromkeys(("", "bytes=-", "bytes=9-0", "bytes=0-9,20-29", "bytes=\u0661-", "items=0-9")),
}
OUTSIDE = ["bytes=100-", "bytes=-0", "bytes=" + "9" * 5_000 + "-"]


@pytest.fixture
def hundred(ours: TenantApi) -> str:
    """Return the digest of an artifact with the bytes BYTES."""
    digest = making.digest_of(BYTES)
    [entry] = making.descriptor(CONTRACT, BYTES)["artifacts"]
    form = {**upload("3.0", artifacts=[entry]), "artifact": file(BYTES)}
    assert ours.post("pipelines/{pipeline_id}/releases", form).status_code == 202
    return digest


def test_a_range_returns_only_its_bytes(ours: TenantApi, hundred: str) -> None:
    for header, place in RANGES.items():
        response = fetch(ours, hundred, Range=header)
        start, stop = place or (0, SIZE)
        assert (response.status_code, body(response)) == (206 if place else 200, BYTES[start:stop]), header
        assert response.headers["Content-Length"] == str(stop - start)
        assert response.headers.get("Content-Range") == (f"bytes {start}-{stop - 1}/{SIZE}" if place else None)
        assert described(BYTES).items() <= dict(response.headers).items()
    for header in OUTSIDE:
        response = fetch(ours, hundred, Range=header)
        assert refused(response, 416, "RANGE_NOT_SATISFIABLE")["size"] == SIZE, header
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"


def test_a_download_is_audited_once_and_logged(ours: TenantApi, artifact: Artifact, data: bytes, caplog: Log) -> None:
    before = AuditEntry.objects.count()
    with caplog.at_level(logging.INFO, "releases.artifacts.api"):
        fetch(ours, artifact.digest, "HEAD")
        fetch(ours, artifact.digest, If_None_Match="*")
        assert caplog.messages == []
        for _ in range(3):
            body(fetch(ours, artifact.digest, Range="bytes=0-9"))
    [entry] = AuditEntry.objects.order_by("id")[before:]
    assert (entry.act, entry.object) == ("artifact.download", artifact.digest)
    what = f"10 of {len(data)} bytes of {artifact.digest}"
    assert caplog.messages == [f"token:client-0 of tenant {ours.tenant.slug} downloads {what}"] * 3


def test_a_release_that_only_names_the_digest_gives_no_right_to_the_bytes(ours: TenantApi, theirs: TenantApi) -> None:
    """Another tenant has sent the bytes. Ours pins their digest, and its release is not verified yet."""
    secret = making.archive(CONTRACT, code="theirs alone")
    making.upload(theirs.tenant, making.descriptor(CONTRACT, secret, "9.0"), secret)
    making.upload(ours.tenant, making.descriptor(CONTRACT, secret, "9.0"))
    refused(fetch(ours, making.digest_of(secret)), 404, "ARTIFACT_UNKNOWN")


def test_missing_and_damaged_bytes_are_an_error_before_the_response_begins(ours: TenantApi, hundred: str) -> None:
    path = making.stored_file(hundred)
    path.unlink()
    assert fetch(ours, hundred, "HEAD").status_code == 409
    refused(fetch(ours, hundred), 409, "ARTIFACT_MISSING")
    path.write_bytes(BYTES[:-1])
    refused(fetch(ours, hundred), 409, "ARTIFACT_ALTERED")
    path.write_bytes(BYTES)
    Blob.objects.filter(digest=hundred).update(state="DAMAGED")
    refused(fetch(ours, hundred), 409, "ARTIFACT_ALTERED")
    refused(fetch(ours, hundred, Range="bytes=0-9"), 409, "ARTIFACT_ALTERED")


def test_other_bytes_of_the_same_size_are_never_sent_completely(ours: TenantApi) -> None:
    """Damage that no scrub has found yet. The last chunk is withheld, so that the server breaks the connection."""
    data = making.archive(CONTRACT, code="a" * 300_000)
    making.verified(making.upload(ours.tenant, making.descriptor(CONTRACT, data, "6.0"), data).release)
    path = making.stored_file(making.digest_of(data))
    path.chmod(0o600)
    times = path.stat()
    path.write_bytes(data[:-1] + b"x")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    response = fetch(ours, making.digest_of(data))
    received: list[bytes] = []
    with pytest.raises(ArtifactStoreUnavailable, match="does not have the bytes"):
        received.extend(response.streaming_content)
    assert 0 < len(b"".join(received)) < len(data)
