"""The signed provenance of executions over REST, and the public key that verifies it."""

import json
from typing import Any

import pytest

from executions.lifecycle import outcome
from tests import making, signing
from tests.api.tenant_api import TenantApi, refused
from tests.executions.lifecycle.recording import pin
from wire.documents import execution_statement
from wire.documents.signing import read_envelope, read_public_key
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
PATH = "executions/{execution_id}/provenance"


def finish(ours: TenantApi) -> None:
    """Let a worker finish the tenant's execution with the artifact of its release."""
    [claim] = making.claimed(ours.tenant)
    [artifact] = ours.release.artifacts.all()
    group = OutcomeGroup(
        worker_id="worker-1",
        artifact_digest=artifact.digest,
        code="artifact",
        environment="sha256:" + "e" * 64,
        outcomes=[making.outcome_of(claim)],
    )
    assert outcome.record(pin(claim), group) == 1


def test_the_published_key_verifies_the_document(ours: TenantApi) -> None:
    finish(ours)
    answer = ours.get(PATH)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/vnd.dsse.envelope.v1+json"
    published = ours.get("provenance-key").json()
    assert published["keyId"] == signing.key_id("coordinator")
    envelope = read_envelope(json.loads(answer.content))
    [signature] = envelope.signatures
    assert signature.key_id == published["keyId"]
    assert envelope.is_signed_by(read_public_key(published["publicKey"]), signature)
    statement = execution_statement.read(envelope.payload)
    assert statement.contradictions() == []
    assert (statement.predicate.execution.tenant, statement.predicate.pinned_throughout) == (ours.tenant.slug, True)
    assert answer.content == ours.get(PATH).content


def test_an_unfinished_execution_has_a_document_that_says_so(ours: TenantApi) -> None:
    envelope = read_envelope(json.loads(ours.get(PATH).content))
    assert execution_statement.read(envelope.payload).predicate.execution.finished is False


def test_the_execution_links_to_its_document(ours: TenantApi) -> None:
    link = ours.get("executions/{execution_id}").json()["links"]["provenance"]
    assert link.endswith(ours.url(PATH))


def test_without_a_key_the_document_and_the_key_are_refused(ours: TenantApi, settings: Any) -> None:
    settings.PROVENANCE_KEY = ""
    for path in (PATH, "provenance-key"):
        refused(ours.get(path), 409, "PROVENANCE_KEY_MISSING")
