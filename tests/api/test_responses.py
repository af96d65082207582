import base64
import hashlib
import json
import socket
from datetime import datetime
from typing import Any

from django.conf import settings

from coordinator.models import Process
from coordinator.monitoring.process import Reporter, version
from releases.models import Release
from releases.registration.registrar import register
from releases.registration.verification import verify_release
from tests import making, signing
from tests.api.furnished import conforms, operations
from tests.api.tenant_api import TenantApi, refused, upload
from tests.cases import cases
from tests.releases.registration import located
from wire.documents import execution_statement
from wire.documents.signing import read_envelope, read_public_key

TRACEBACK = 'Traceback (most recent call last):\n  File "orders.py", line 1, in act\nBadThing: why'
PIPELINE = "pipelines/{pipeline_id}"
RELEASES = f"{PIPELINE}/releases"
EXECUTION = "executions/{execution_id}"


def test_a_release_is_uploaded_and_verified(ours: TenantApi, document: dict[str, Any]) -> None:
    response = ours.post(RELEASES, upload("2.0"))
    taken = conforms(document, "POST", RELEASES, response)
    assert (response.status_code, taken["status"], taken["contract"], taken["active"]) == (202, "UPLOADED", None, False)
    assert response.headers["Location"] == f"http://testserver{ours.url(RELEASES)}/2.0"
    [artifact] = taken["artifacts"]
    assert artifact["size"] > 0
    assert artifact["stepIds"] == artifact["capabilities"] == []
    refused = ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}).json()
    assert (refused["code"], refused["releaseStatus"]) == ("RELEASE_NOT_REGISTERED", "UPLOADED")
    verify_release(Release.objects.get(release_version="2.0", pipeline=ours.release.pipeline).pk)
    response = ours.post(RELEASES, upload("2.0"))
    again = conforms(document, "POST", RELEASES, response)
    assert (response.status_code, again["status"]) == (200, "REGISTERED")
    assert again["contract"]["contractVersion"] == again["contractVersion"]
    assert again["uploadedBy"].startswith("token:client-")
    assert ours.call("GET", response.headers["Location"]).json() == again


@cases("failed", [True, False])
def test_a_finished_execution_shows_result_or_error(ours: TenantApi, document: dict[str, Any], failed: bool) -> None:
    early = ours.get(f"{EXECUTION}/result?wait=1")
    assert refused(early, 409, "EXECUTION_UNFINISHED")["executionStatus"] == "QUEUED"
    assert early.headers["Retry-After"] == "1"
    [claim] = making.claimed(ours.tenant)
    failure = making.failure(claim, "BadThing", retryable=False, traceback=TRACEBACK)
    reported = failure if failed else making.outcome_of(claim)
    making.record(reported)
    shown, result, events = (
        conforms(document, "GET", EXECUTION + path, ours.get(EXECUTION + path)) for path in ("", "/result", "/events")
    )
    status = "FAILED" if failed else "SUCCEEDED"
    assert shown["status"] == result["status"] == events["items"][-1]["status"] == status
    assert shown["error"] == ({"code": "BadThing", "message": "why", "traceback": TRACEBACK} if failed else None)
    assert events["items"][-1]["data"].get("traceback") == (TRACEBACK if failed else None)
    assert result["result"] == (None if failed else {"n": 1})
    assert result["error"] == ({"code": "BadThing", "message": "why"} if failed else None)
    assert [event["sequence"] for event in events["items"]] == [1, 2, 3]
    assert datetime.fromisoformat(shown["finishedAt"]) >= datetime.fromisoformat(shown["createdAt"])


CONTRACT = making.contract()
DATA = making.archive(CONTRACT, code="2.0")
ODD_BYTES = json.dumps(located.carrier(CONTRACT, DATA, "2.0"), indent=3).encode() + b"\r\n \n"
"""A descriptor whose bytes no serialiser would produce again."""
PROVENANCE = "executions/{execution_id}/provenance"


def path_of(release: Release) -> str:
    return f"pipelines/{{pipeline_id}}/descriptors/{release.descriptor_digest}"


def test_the_exact_bytes_are_returned_with_their_digest(ours: TenantApi) -> None:
    newer = making.verified(register(ours.tenant, ODD_BYTES, [making.staged(DATA)], actor="user:test").release)
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
    ran: dict[str, Any] = {"artifact_digest": ours.release.artifacts.get().digest, "code": "artifact"}
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


def test_each_operation_documents_its_token_responses_and_errors(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        statuses = operation["responses"]
        assert any(status < "300" for status in statuses)
        for status, response in statuses.items():
            assert response["content"]
            if status >= "400":
                [(media, content)] = response["content"].items()
                assert (media, content["schema"]) == (
                    "application/problem+json",
                    {"$ref": "#/components/schemas/Problem"},
                )
                assert response["x-codes"], status
        anonymous = operation["operationId"] == "resume"
        assert statuses.keys() >= ({"406", "500"} if anonymous else {"401", "403", "404", "406", "500"})
        assert anonymous or operation["security"] == [{"bearerToken": []}]
        path = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert anonymous or "tenant" in path
        assert operation["description"]


def test_a_tenant_sees_no_hosts_and_only_its_own_queues(ours: TenantApi, theirs: TenantApi) -> None:
    reporter = Reporter(
        Process.Kind.CLOCK, clock=lambda: 1_000_000.0, jobs=lambda: {"evaluate-alerts": 20.0, "scrub-blobs": 900.0}
    )
    reporter.report()
    try:
        response = ours.get("status")
    finally:
        reporter.leave()
    assert socket.gethostname() not in response.content.decode()
    body = response.json()
    assert (body["version"], body["database"], body["broker"]) == (version(), "UP", "UP")
    jobs = {job["name"]: (job["late"], job["lastRunAt"] is None) for job in body["jobs"]}
    ran = {"evaluate-alerts": (False, False), "scrub-blobs": (True, False)}
    assert jobs == dict.fromkeys(settings.CELERY_BEAT_SCHEDULE, (False, True)) | ran
    assert [queue["due"] for queue in body["queues"]] == [1], "the one of the fixture"
    [process] = [entry for entry in body["processes"] if entry["driftSeconds"] < -86_400]
    assert (process["kind"], process["version"], process["silent"]) == ("clock", version(), False)
