"""REST: the profile of a release, the exact bytes of its descriptor, and the provenance of executions."""

import base64
import hashlib
import json
from typing import Any

import pytest

from releases.models import Release
from releases.registration.registrar import register
from tests import making, signing
from tests.api.tenant_api import TenantApi, refused
from wire.documents import execution_statement
from wire.documents.signing import read_envelope, read_public_key

pytestmark = pytest.mark.django_db
CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="2.0")
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
    ran = {"artifact_digest": ours.release.artifacts.get().digest, "code": "artifact"}
    environment = "sha256:" + "e" * 64
    assert making.record(making.outcome_of(claim), worker_id="worker-1", environment=environment, **ran) == 1
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
