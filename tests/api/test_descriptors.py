"""REST: the profile of a release, the exact bytes of its descriptor, and the provenance of executions."""

import base64
import hashlib
import json
from typing import Any

import pytest

from executions.lifecycle import outcome
from releases.models import Release
from releases.registration.registrar import register
from tests import making, signing
from tests.api.tenant_api import TenantApi, file, refused
from tests.cases import cases
from tests.executions.lifecycle.recording import pin
from wire.documents import execution_statement
from wire.documents.signing import read_envelope, read_public_key
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="2.0")
RELEASES = "pipelines/{pipeline_id}/releases"
ODD_BYTES = json.dumps(making.carrier_descriptor(CONTRACT, DATA, "2.0"), indent=3).encode() + b"\r\n \n"
"""A descriptor whose bytes no serialiser would produce again."""
PROVENANCE = "executions/{execution_id}/provenance"


@pytest.fixture
def newer(ours: TenantApi) -> Release:
    """A release of the profile `tpf-2026-10`."""
    sent = register(ours.tenant, ODD_BYTES, [making.staged(DATA)], actor="user:test")
    return making.verified(sent.release)


def path_of(release: Release) -> str:
    return f"pipelines/{{pipeline_id}}/descriptors/{release.descriptor_digest}"


def test_a_release_shows_its_profile_descriptor_and_carrier(ours: TenantApi, newer: Release) -> None:
    shown = ours.get(f"{RELEASES}/2.0").json()
    digest = making.digest_of(ODD_BYTES)
    assert (shown["profile"], shown["descriptorDigest"], shown["carrierArtifactId"]) == ("tpf-2026-10", digest, "app")
    assert (shown["primaryArtifactId"], shown["descriptor"]) == ("app", json.loads(ODD_BYTES))
    assert [each["resolved"] for each in shown["artifacts"]] == [False]
    older = ours.get(f"{RELEASES}/1.0").json()
    assert (older["profile"], older["carrierArtifactId"]) == ("tpf-2026-08", None)
    assert older["descriptorDigest"] == ours.release.descriptor_digest


def test_the_exact_bytes_are_returned_with_their_digest(ours: TenantApi, newer: Release) -> None:
    digest = hashlib.sha256(ODD_BYTES)
    described = {
        "Content-Type": "application/json",
        "Content-Disposition": 'attachment; filename="pipeline-release.json"',
        "Content-Length": str(len(ODD_BYTES)),
        "ETag": f'"sha256:{digest.hexdigest()}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    for method, content in (("GET", ODD_BYTES), ("HEAD", b"")):
        response = ours.call(method, ours.url(path_of(newer)))
        assert (response.status_code, response.content) == (200, content)
        assert described.items() <= dict(response.headers).items()
    older = ours.get(path_of(ours.release))
    assert older.content == bytes(ours.release.descriptor_document)
    assert making.digest_of(older.content) == ours.release.descriptor_digest


CONDITIONS: list[tuple[str, str, int]] = [
    ("If-None-Match", "{etag}", 304),
    ("If-None-Match", "W/{etag}", 304),
    ("If-None-Match", "*", 304),
    ("If-None-Match", '"sha256:0"', 200),
    ("If-Match", "{etag}", 200),
    ("If-Match", '"sha256:0"', 412),
]


@cases(("header", "value", "status"), CONDITIONS)
def test_conditions_compare_the_digest(ours: TenantApi, newer: Release, header: str, value: str, status: int) -> None:
    etag = f'"{newer.descriptor_digest}"'
    for method in ("GET", "HEAD"):
        response = ours.call(method, ours.url(path_of(newer)), headers={header: value.format(etag=etag)})
        assert response.status_code == status
        if status == 304:
            assert (response.content, response.headers["ETag"]) == (b"", etag)
        elif status == 412 and method == "GET":
            refused(response, 412, "PRECONDITION_FAILED")


def test_descriptors_of_rejected_releases_and_of_odd_versions_are_returned_too(ours: TenantApi) -> None:
    document = making.carrier_descriptor(CONTRACT, DATA, "3.0")
    assert ours.get(path_of(making.rejected(ours.tenant, document))).content == json.dumps(document).encode()
    for version in ("descriptors", "2.0 descriptor"):
        release = making.registered(ours.tenant, version)
        assert ours.get(f"{RELEASES}/{version}").json()["releaseVersion"] == version
        assert ours.get(path_of(release)).content == bytes(release.descriptor_document)


def test_a_descriptor_belongs_to_its_pipeline_and_tenant(ours: TenantApi, theirs: TenantApi, newer: Release) -> None:
    refused(theirs.get(path_of(newer)), 404, "DESCRIPTOR_UNKNOWN")
    making.registered(ours.tenant, pipeline_id="org.example.other")
    other = f"pipelines/org.example.other/descriptors/{newer.descriptor_digest}"
    refused(ours.get(other), 404, "DESCRIPTOR_UNKNOWN")


# --- invalid descriptors ---


def sent(ours: TenantApi, document: bytes) -> dict[str, Any]:
    return refused(ours.post(RELEASES, {"descriptor": file(document, "d.json")}), 400, "DESCRIPTOR_INVALID")


def test_a_problem_names_the_profile_of_an_invalid_descriptor(ours: TenantApi) -> None:
    newer, older = making.carrier_descriptor(CONTRACT, DATA), making.descriptor(CONTRACT, DATA)
    for document, profile in ((newer, "tpf-2026-10"), (older, "tpf-2026-08")):
        for changes in ({"schemaVersion": 2}, {"surprise": 1}, {"pipelineId": "org.example.other"}):
            assert sent(ours, json.dumps({**document, **changes}).encode())["profile"] == profile
    for no_object in (b"{", b"[]", b"\xff", b""):
        assert "profile" not in sent(ours, no_object)
    wrong = making.carrier_descriptor(CONTRACT, DATA, uri="maven:org.example:orders:jar:1.0")
    problem = sent(ours, json.dumps({**wrong, "compiledTruthArtifactId": "other"}).encode())
    assert {error["code"] for error in problem["errors"]} == {"ARTIFACT_URI_NOT_CANONICAL"}
    assert all(error["message"].startswith("profile tpf-2026-10: ") for error in problem["errors"])


# --- provenance ---


def statement_of(ours: TenantApi) -> tuple[Any, Any]:
    response = ours.get(PROVENANCE)
    assert response["Content-Type"] == "application/vnd.dsse.envelope.v1+json"
    assert response.content == ours.get(PROVENANCE).content
    envelope = read_envelope(json.loads(response.content))
    return envelope, execution_statement.read(envelope.payload)


def test_the_published_key_verifies_the_provenance_of_an_execution(ours: TenantApi, settings: Any) -> None:
    """A worker finishes the execution with the artifact of its release."""
    assert statement_of(ours)[1].predicate.execution.finished is False
    [claim] = making.claimed(ours.tenant)
    group = OutcomeGroup(
        worker_id="worker-1",
        artifact_digest=ours.release.artifacts.get().digest,
        code="artifact",
        environment="sha256:" + "e" * 64,
        outcomes=[making.outcome_of(claim)],
    )
    assert outcome.record(pin(claim), group) == 1
    published = ours.get("provenance-key").json()
    assert published["keyId"] == signing.key_id("coordinator")
    envelope, statement = statement_of(ours)
    [signature] = envelope.signatures
    assert signature.key_id == published["keyId"]
    assert envelope.is_signed_by(read_public_key(published["publicKey"]), signature)
    assert statement.contradictions() == []
    assert (statement.predicate.execution.tenant, statement.predicate.pinned_throughout) == (ours.tenant.slug, True)
    link = ours.get("executions/{execution_id}").json()["links"]["provenance"]
    assert link.endswith(ours.url(PROVENANCE))
    settings.PROVENANCE_KEY = ""
    for path in (PROVENANCE, "provenance-key"):
        refused(ours.get(path), 409, "PROVENANCE_KEY_MISSING")
