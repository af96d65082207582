"""REST of the stored bytes of artifacts."""

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from releases.activation.revocation import revoke
from releases.errors import ArtifactStoreUnavailable
from releases.models import Artifact, Blob, Pipeline
from releases.registration.registrar import verify_release
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, file, refused, upload
from tests.cases import cases
from tests.faults import Relay
from tests.maven_repository import maven_repository
from tests.s3 import S3Place, use_s3

pytestmark = pytest.mark.django_db
CONTRACT = making.contract()


def pinned(ours: TenantApi) -> Artifact:
    return Artifact.objects.select_related("blob").get(release=ours.release)


def data_of(artifact: Artifact) -> bytes:
    return making.stored_file(artifact.digest).read_bytes()


def fetch(ours: TenantApi, digest: str, method: str = "GET", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ours.call(method, ours.url(f"artifacts/{digest}"), headers=named)


def body(response: Any) -> bytes:
    """Read the body of a streamed response, which Django's client then closes as the server does."""
    return b"".join(response.streaming_content)


@pytest.fixture
def artifact(ours: TenantApi) -> Artifact:
    return pinned(ours)


@pytest.fixture
def data(artifact: Artifact) -> bytes:
    return data_of(artifact)


@pytest.fixture
def etag(artifact: Artifact) -> str:
    return f'"{artifact.digest}"'


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


# --- headers ---


def test_the_bytes_are_returned_with_their_digest_name_and_length(
    ours: TenantApi, artifact: Artifact, data: bytes
) -> None:
    response = fetch(ours, artifact.digest)
    assert (response.status_code, body(response)) == (200, data)
    expected = {**described(data), "Content-Length": str(len(data))}
    assert expected.items() <= dict(response.headers).items()
    assert "Content-Range" not in response.headers
    head = fetch(ours, artifact.digest, "HEAD", Range="bytes=0-1")
    assert (head.status_code, head.content) == (200, b"")
    assert expected.items() <= dict(head.headers).items()


NAMES = {
    "app.zip": 'filename="app.zip"',
    "C:\\folder\\app.zip": 'filename="app.zip"',
    "../../etc/passwd": 'filename="passwd"',
    "file:///a/app%2F..%2Fb.zip": 'filename="b.zip"',
    'a"; filename="b.exe': 'filename="a___filename__b.exe"',
    "a/..": 'filename="_."',
    "a%0D%0Ab.zip": 'filename="a__b.zip"',
    "-rf": 'filename="_rf"',
    "/": 'filename="artifact"',
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


@cases("media", ["application/octet-stream", "application/json", "*/*", "application/*;q=0.5"])
def test_clients_may_accept_the_bytes_or_any_media_type_of_the_api(
    ours: TenantApi, artifact: Artifact, media: str
) -> None:
    assert fetch(ours, artifact.digest, Accept=media).status_code == 200
    problem = refused(fetch(ours, "sha256:" + "0" * 64, Accept=media), 404, "ARTIFACT_UNKNOWN")
    assert "sha256:000" in problem["detail"]


# --- ranges and conditions ---

SIZE = 100
BYTES = bytes(range(SIZE))
RANGES: dict[str, tuple[int, int] | None] = {
    "bytes=0-0": (0, 1),
    "bytes=10-19": (10, 20),
    "bytes=99-": (99, 100),
    "bytes=50-100": (50, 100),
    "bytes=50-" + "9" * 5_000: (50, 100),
    "bytes=-1": (99, 100),
    "bytes=-101": (0, 100),
    "BYTES=00-09": (0, 10),
    "bytes= 0-9 ": (0, 10),
    # These headers are ignored.
    **dict.fromkeys(("", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-0", "bytes=0-9,20-29", "bytes=0-9,")),
    **dict.fromkeys(("bytes=+1-2", "bytes=-1-2", "bytes=\u0661-", "items=0-9", "bytes 0-9")),
}
OUTSIDE = ["bytes=100-", "bytes=100-100", "bytes=200-300", "bytes=-0", "bytes=-00", "bytes=" + "9" * 5_000 + "-"]


@pytest.fixture
def hundred(ours: TenantApi) -> str:
    """Return the digest of an artifact with the bytes BYTES."""
    digest = making.digest_of(BYTES)
    [entry] = making.descriptor(CONTRACT, BYTES)["artifacts"]
    form = {**upload("3.0", artifacts=[entry]), "artifact": file(BYTES)}
    assert ours.post("pipelines/{pipeline_id}/releases", form).status_code == 202
    return digest


def test_a_range_returns_only_its_bytes(ours: TenantApi, hundred: str, subtests: pytest.Subtests) -> None:
    for header, place in RANGES.items():
        with subtests.test(header[:40]):
            response = fetch(ours, hundred, Range=header)
            start, stop = place or (0, SIZE)
            assert (response.status_code, body(response)) == (206 if place else 200, BYTES[start:stop])
            assert response.headers["Content-Length"] == str(stop - start)
            assert response.headers.get("Content-Range") == (f"bytes {start}-{stop - 1}/{SIZE}" if place else None)
            assert described(BYTES).items() <= dict(response.headers).items()


def test_a_range_outside_of_the_bytes_is_not_satisfiable(
    ours: TenantApi, hundred: str, subtests: pytest.Subtests
) -> None:
    for header in OUTSIDE:
        with subtests.test(header[:40]):
            response = fetch(ours, hundred, Range=header)
            assert refused(response, 416, "RANGE_NOT_SATISFIABLE")["size"] == SIZE
            assert response.headers["Content-Range"] == f"bytes */{SIZE}"


def test_a_range_of_other_bytes_is_ignored(ours: TenantApi, hundred: str, subtests: pytest.Subtests) -> None:
    date = "Thu, 26 Nov 2026 06:00:00 GMT"
    conditions = {
        f'"{hundred}"': 206,
        f' "{hundred}" ': 206,
        f'W/"{hundred}"': 200,
        hundred: 200,
        '"x"': 200,
        date: 200,
    }
    for condition, status in conditions.items():
        with subtests.test(condition):
            response = fetch(ours, hundred, Range="bytes=0-9", If_Range=condition)
            assert (response.status_code, len(body(response))) == (status, 10 if status == 206 else SIZE)
    assert fetch(ours, hundred, Range="bytes=500-", If_Range='"x"').status_code == 200


def test_bytes_that_the_client_has_are_not_sent(ours: TenantApi, hundred: str, subtests: pytest.Subtests) -> None:
    tag = f'"{hundred}"'
    known = {tag: 304, f"W/{tag}": 304, f'"x", {tag}': 304, f'"x",{tag} , "y"': 304, "*": 304, '"x"': 200, hundred: 200}
    for condition, status in {**known, "": 200}.items():
        for method in ("GET", "HEAD"):
            with subtests.test(condition, method=method):
                response = fetch(ours, hundred, method, If_None_Match=condition, Range="bytes=500-" * (status == 304))
                assert response.status_code == status
                assert response.headers["ETag"] == tag
                if status == 304:
                    assert response.content == b""


def test_a_client_that_expects_other_bytes_gets_none(ours: TenantApi, hundred: str, subtests: pytest.Subtests) -> None:
    tag = f'"{hundred}"'
    for condition, status in {tag: 200, "*": 200, f'"x", {tag}': 200, '"x"': 412, f"W/{tag}": 412, "": 412}.items():
        with subtests.test(condition):
            response = fetch(ours, hundred, If_Match=condition)
            if status == 412:
                refused(response, 412, "PRECONDITION_FAILED")
            else:
                assert body(response) == BYTES


# --- who may read ---


def test_only_the_scope_for_artifacts_gives_code_away(ours: TenantApi, artifact: Artifact, data: bytes) -> None:
    others, url = ours.without(Scope.ARTIFACTS), ours.url(f"artifacts/{artifact.digest}")
    assert {ours.call(method, url, token=others).status_code for method in ("GET", "HEAD")} == {403}
    assert body(ours.call("GET", url, token=ours.token(Scope.ARTIFACTS))) == data


def test_a_download_is_audited_once_a_minute_and_logged_with_its_actor(
    ours: TenantApi, artifact: Artifact, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    before = AuditEntry.objects.count()
    with caplog.at_level(logging.INFO, "releases.api.artifacts"):
        fetch(ours, artifact.digest, "HEAD")
        fetch(ours, artifact.digest, If_None_Match="*")
        assert caplog.messages == []
        for _ in range(3):
            body(fetch(ours, artifact.digest, Range="bytes=0-9"))
    [entry] = AuditEntry.objects.order_by("id")[before:]
    assert (entry.act, entry.object) == ("artifact.download", artifact.digest)
    what = f"10 of {len(data)} bytes of {artifact.digest}"
    assert caplog.messages == [f"token:client-0 of tenant {ours.tenant.slug} downloads {what}"] * 3


def test_the_bytes_of_another_tenant_are_unknown(ours: TenantApi, theirs: TenantApi) -> None:
    secret = making.archive(CONTRACT, code="theirs alone")
    making.verified(making.upload(theirs.tenant, making.descriptor(CONTRACT, secret, "9.0"), secret).release)
    never = "sha256:" + "0" * 64
    digests = (making.digest_of(secret), never)
    problems = [refused(fetch(ours, digest), 404, "ARTIFACT_UNKNOWN") for digest in digests]
    texts = [json.dumps(problem).replace(digest, "") for problem, digest in zip(problems, digests, strict=True)]
    assert texts[0] == texts[1]
    assert body(fetch(theirs, digests[0])) == secret


def test_a_release_that_only_names_the_digest_gives_no_right_to_the_bytes(ours: TenantApi, theirs: TenantApi) -> None:
    """Another tenant has sent the bytes. Ours pins their digest, and its release is not verified yet."""
    secret = making.archive(CONTRACT, code="theirs alone")
    making.upload(theirs.tenant, making.descriptor(CONTRACT, secret, "9.0"), secret)
    making.upload(ours.tenant, making.descriptor(CONTRACT, secret, "9.0"))
    refused(fetch(ours, making.digest_of(secret)), 404, "ARTIFACT_UNKNOWN")


def test_equal_bytes_of_two_tenants_are_each_tenants_own(ours: TenantApi, theirs: TenantApi) -> None:
    digest = pinned(ours).digest
    assert pinned(theirs).digest == digest
    assert body(fetch(ours, digest)) == body(fetch(theirs, digest))
    revoke(ours.release, actor="user:test", reason="a mistake")
    assert body(fetch(ours, digest)), "the code that a revoked release ran can still be examined"


def test_the_bytes_of_a_rejected_release_are_unknown(ours: TenantApi) -> None:
    wrong = making.archive(making.contract("org.example.wrong"))
    release = making.upload(ours.tenant, making.descriptor(CONTRACT, wrong, "4.0"), wrong).release
    assert body(fetch(ours, making.digest_of(wrong))) == wrong, "the tenant has sent these bytes itself"
    verify_release(release.pk)
    release.refresh_from_db()
    assert release.status == "REJECTED"
    refused(fetch(ours, making.digest_of(wrong)), 404, "ARTIFACT_UNKNOWN")


@cases("kind", ["container-image", "lambda-image", "external-endpoint"])
def test_an_artifact_whose_bytes_are_elsewhere_says_so(ours: TenantApi, theirs: TenantApi, kind: str) -> None:
    digest = "sha256:" + "1" * 64
    entry = {"artifactId": "i", "kind": kind, "uri": f"r.example/i@{digest}", "digest": digest}
    document = {**making.descriptor(CONTRACT, b"", "5.0"), "artifacts": [entry]}
    making.upload(ours.tenant, document)
    refused(fetch(ours, digest), 404, "ARTIFACT_NOT_STORED")
    refused(fetch(theirs, digest), 404, "ARTIFACT_UNKNOWN")


def test_an_artifact_that_a_release_only_identifies_says_so(ours: TenantApi) -> None:
    Pipeline.objects.filter(tenant=ours.tenant).update(missing_artifacts="identity-only")
    data = making.archive(CONTRACT, code="elsewhere")
    release = making.upload(ours.tenant, making.carrier_descriptor(CONTRACT, data, "5.0")).release
    refused(fetch(ours, making.digest_of(data)), 404, "ARTIFACT_UNKNOWN")
    making.verified(release)
    refused(fetch(ours, making.digest_of(data)), 404, "ARTIFACT_NOT_STORED")


def test_an_artifact_from_a_repository_is_returned_with_the_name_that_it_has_there(
    ours: TenantApi, settings: Any
) -> None:
    data = making.archive(CONTRACT, code="published")
    uri = "maven:com.acme:orders:zip:app:5.0"
    with maven_repository() as repository:
        repository.publish(uri, data)
        repository.configure(settings)
        document = making.carrier_descriptor(CONTRACT, data, "5.0", uri=uri)
        making.verified(making.upload(ours.tenant, document).release)
    [shown] = ours.get("pipelines/{pipeline_id}/releases/5.0").json()["artifacts"]
    assert (shown["resolved"], shown["state"], shown["size"]) == (True, "SOUND", len(data))
    response = fetch(ours, making.digest_of(data))
    assert body(response) == data
    assert response.headers["Content-Disposition"] == 'attachment; filename="orders-5.0-app.zip"'


# --- bytes that cannot be read ---


@cases("method", ["GET", "HEAD"])
def test_missing_bytes_are_an_error_before_the_response_begins(ours: TenantApi, hundred: str, method: str) -> None:
    making.stored_file(hundred).unlink(missing_ok=True)
    response = fetch(ours, hundred, method)
    assert response.status_code == 409
    refused(fetch(ours, hundred), 409, "ARTIFACT_MISSING")


def test_damaged_bytes_are_an_error(ours: TenantApi, hundred: str) -> None:
    path = making.stored_file(hundred)
    path.chmod(0o600)
    path.write_bytes(BYTES[:-1])
    refused(fetch(ours, hundred), 409, "ARTIFACT_ALTERED")
    path.write_bytes(BYTES)
    Blob.objects.filter(digest=hundred).update(state="DAMAGED")
    refused(fetch(ours, hundred), 409, "ARTIFACT_ALTERED")
    refused(fetch(ours, hundred, Range="bytes=0-9"), 409, "ARTIFACT_ALTERED")


def test_a_store_that_cannot_be_read_is_unavailable(ours: TenantApi, hundred: str, settings: Any) -> None:
    marker = settings.ARTIFACT_ROOT / ".artifact-store"
    content = marker.read_bytes()
    marker.unlink()
    making.stored_file(hundred).unlink()
    ours.client.raise_request_exception = False
    response = fetch(ours, hundred)
    marker.write_bytes(content)
    refused(response, 503, "ARTIFACT_STORE_UNAVAILABLE")
    assert response.headers["Retry-After"] == "5"


def test_other_bytes_of_the_same_size_are_never_sent_completely(ours: TenantApi) -> None:
    """Damage that no scrub has found yet. The last chunk is withheld, so that the server breaks the connection."""
    data = making.archive(CONTRACT, code="a" * 300_000)
    making.verified(making.upload(ours.tenant, making.descriptor(CONTRACT, data, "6.0"), data).release)
    path = making.stored_file(making.digest_of(data))
    path.chmod(0o600)
    path.write_bytes(data[:-1] + b"x")
    response = fetch(ours, making.digest_of(data))
    received: list[bytes] = []
    with pytest.raises(ArtifactStoreUnavailable, match="does not have the bytes"):
        received.extend(response.streaming_content)
    assert 0 < len(b"".join(received)) < len(data)


# --- a store on a server ---

LARGE = bytes(range(256)) * 20_000


@pytest.fixture
def relay(s3_place: S3Place) -> Iterator[Relay]:
    with Relay(urlsplit(s3_place.endpoint_url).port or 0) as between:
        yield between


@pytest.fixture
def remote(ours: TenantApi, settings: Any, s3_place: S3Place, relay: Relay) -> str:
    """Return the digest of an artifact with the bytes LARGE in S3, which is behind `relay`."""
    use_s3(settings, replace(s3_place, endpoint_url=relay.url))
    [entry] = making.descriptor(CONTRACT, LARGE)["artifacts"]
    making.upload(ours.tenant, {**making.descriptor(CONTRACT, LARGE, "7.0"), "artifacts": [entry]}, LARGE)
    return str(entry["digest"])


@pytest.mark.xdist_group("s3_server")
def test_bytes_on_a_server_are_returned_as_those_on_a_disk(ours: TenantApi, remote: str) -> None:
    response = fetch(ours, remote)
    assert (response.status_code, body(response)) == (200, LARGE)
    assert described(LARGE).items() <= dict(response.headers).items()
    part = fetch(ours, remote, Range="bytes=1000000-4000000")
    assert (part.status_code, body(part)) == (206, LARGE[1_000_000:4_000_001])


@pytest.mark.xdist_group("s3_server")
def test_only_the_bytes_of_the_range_are_fetched_from_the_server(ours: TenantApi, remote: str, relay: Relay) -> None:
    relay.cut_after = 100_000  # of each connection
    assert body(fetch(ours, remote, Range="bytes=3000000-3000009")) == LARGE[3_000_000:3_000_010]


@pytest.mark.xdist_group("s3_server")
def test_a_server_that_breaks_off_breaks_the_download(ours: TenantApi, remote: str, relay: Relay) -> None:
    response = fetch(ours, remote)
    relay.refusing = True
    received: list[bytes] = []
    with pytest.raises(ArtifactStoreUnavailable, match="does not answer"):
        received.extend(response.streaming_content)
    assert 0 < len(b"".join(received)) < len(LARGE)
    assert LARGE.startswith(b"".join(received))
    ours.client.raise_request_exception = False
    refused(fetch(ours, remote), 503, "ARTIFACT_STORE_UNAVAILABLE")
