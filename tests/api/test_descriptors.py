"""REST: the profile of a release and the exact bytes of its descriptor."""

import base64
import hashlib
import json
from typing import Any

import pytest

from releases.models import Release
from releases.registration.registrar import register, verify_release
from tests import making
from tests.api.tenant_api import TenantApi, file, refused
from tests.cases import cases

pytestmark = pytest.mark.django_db
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="2.0")
RELEASES = "pipelines/{pipeline_id}/releases"
ODD_BYTES = json.dumps(making.carrier_descriptor(CONTRACT, DATA, "2.0"), indent=3).encode() + b"\r\n \n"
"""A descriptor whose bytes no serialiser would produce again."""


@pytest.fixture
def newer(ours: TenantApi) -> Release:
    """A release of the profile `tpf-2026-10`."""
    sent = register(ours.tenant, ODD_BYTES, [making.staged(DATA)], actor="user:test")
    return making.verified(sent.release)


def path_of(release: Release) -> str:
    return f"pipelines/{{pipeline_id}}/descriptors/{release.descriptor_digest}"


def described(data: bytes) -> dict[str, str]:
    digest = hashlib.sha256(data)
    return {
        "Content-Type": "application/json",
        "Content-Disposition": 'attachment; filename="pipeline-release.json"',
        "Content-Length": str(len(data)),
        "ETag": f'"sha256:{digest.hexdigest()}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


# --- the release ---


def test_a_release_shows_its_profile_descriptor_and_carrier(ours: TenantApi, newer: Release) -> None:
    shown = ours.get(f"{RELEASES}/2.0").json()
    digest = making.digest_of(ODD_BYTES)
    assert (shown["profile"], shown["descriptorDigest"], shown["carrierArtifactId"]) == ("tpf-2026-10", digest, "app")
    assert shown["primaryArtifactId"] == "app"
    assert shown["descriptor"] == json.loads(ODD_BYTES)
    assert [each["resolved"] for each in shown["artifacts"]] == [False]


def test_a_release_of_the_older_profile_names_no_carrier(ours: TenantApi) -> None:
    shown = ours.get(f"{RELEASES}/1.0").json()
    assert (shown["profile"], shown["carrierArtifactId"]) == ("tpf-2026-08", None)
    assert shown["descriptorDigest"] == ours.release.descriptor_digest


# --- the bytes ---


def test_the_exact_bytes_are_returned_with_their_digest(ours: TenantApi, newer: Release) -> None:
    response = ours.get(path_of(newer))
    assert (response.status_code, response.content) == (200, ODD_BYTES)
    assert described(ODD_BYTES).items() <= dict(response.headers).items()
    older = ours.get(path_of(ours.release))
    assert older.content == bytes(ours.release.descriptor_document)
    assert making.digest_of(older.content) == ours.release.descriptor_digest


def test_head_describes_the_bytes_without_a_body(ours: TenantApi, newer: Release) -> None:
    response = ours.call("HEAD", ours.url(path_of(newer)))
    assert (response.status_code, response.content) == (200, b"")
    assert described(ODD_BYTES).items() <= dict(response.headers).items()


CONDITIONS: list[tuple[str, str, int]] = [
    ("If-None-Match", "{etag}", 304),
    ("If-None-Match", "W/{etag}", 304),
    ("If-None-Match", "*", 304),
    ("If-None-Match", '"sha256:0"', 200),
    ("If-Match", "{etag}", 200),
    ("If-Match", '"sha256:0"', 412),
]


@cases(("header", "value", "status"), CONDITIONS)
@cases("method", ["GET", "HEAD"])
def test_conditions_compare_the_digest(
    ours: TenantApi, newer: Release, method: str, header: str, value: str, status: int
) -> None:
    etag = f'"{newer.descriptor_digest}"'
    response = ours.call(method, ours.url(path_of(newer)), headers={header: value.format(etag=etag)})
    assert response.status_code == status
    if status == 304:
        assert (response.content, response.headers["ETag"]) == (b"", etag)
    elif status == 412 and method == "GET":
        refused(response, 412, "PRECONDITION_FAILED")


def test_the_bytes_of_a_rejected_descriptor_are_returned_too(ours: TenantApi) -> None:
    document = making.carrier_descriptor(CONTRACT, DATA, "3.0")
    release = making.upload(ours.tenant, document).release
    verify_release(release.pk)
    release.refresh_from_db()
    assert release.status == "REJECTED"
    assert ours.get(path_of(release)).content == json.dumps(document).encode()


@cases("version", ["descriptors", "2.0 descriptor"])
def test_no_release_version_collides_with_the_address_of_a_descriptor(ours: TenantApi, version: str) -> None:
    release = making.registered(ours.tenant, version)
    assert ours.get(f"{RELEASES}/{version}").json()["releaseVersion"] == version
    assert ours.get(path_of(release)).content == bytes(release.descriptor_document)


def test_a_descriptor_belongs_to_its_pipeline_and_tenant(ours: TenantApi, theirs: TenantApi, newer: Release) -> None:
    refused(theirs.get(path_of(newer)), 404, "DESCRIPTOR_UNKNOWN")
    making.registered(ours.tenant, pipeline_id="org.example.other")
    other = f"pipelines/org.example.other/descriptors/{newer.descriptor_digest}"
    refused(ours.get(other), 404, "DESCRIPTOR_UNKNOWN")
    refused(ours.get(path_of(newer).format(pipeline_id="org.example.none")), 404, "PIPELINE_UNKNOWN")
    refused(ours.call("GET", theirs.url(path_of(newer))), 404, "NOT_FOUND")


# --- invalid descriptors ---


def sent(ours: TenantApi, document: bytes) -> dict[str, Any]:
    return refused(ours.post(RELEASES, {"descriptor": file(document, "d.json")}), 400, "DESCRIPTOR_INVALID")


def test_a_problem_names_the_profile_of_an_invalid_descriptor(ours: TenantApi) -> None:
    newer = making.carrier_descriptor(CONTRACT, DATA)
    older = making.descriptor(CONTRACT, DATA)
    for document, profile in ((newer, "tpf-2026-10"), (older, "tpf-2026-08")):
        for changes in ({"schemaVersion": 2}, {"surprise": 1}, {"pipelineId": "org.example.other"}):
            assert sent(ours, json.dumps({**document, **changes}).encode())["profile"] == profile


@cases("document", [b"{", b"[]", b"\xff", b""])
def test_a_document_that_is_no_object_has_no_profile(ours: TenantApi, document: bytes) -> None:
    assert "profile" not in sent(ours, document)


def test_each_finding_about_the_newer_profile_names_it(ours: TenantApi) -> None:
    document = making.carrier_descriptor(CONTRACT, DATA, uri="maven:org.example:orders:jar:1.0")
    problem = sent(ours, json.dumps({**document, "compiledTruthArtifactId": "other"}).encode())
    assert {error["code"] for error in problem["errors"]} == {"ARTIFACT_URI_NOT_CANONICAL"}
    assert all(error["message"].startswith("profile tpf-2026-10: ") for error in problem["errors"])
