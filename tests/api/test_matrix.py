"""Every endpoint: who may request it, what a denial and a success write, and that tenants never see each other."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User

from coordinator.urls import tenant_api as url_patterns
from releases.artifacts.store import artifact_store
from tenancy.audit import recording
from tenancy.audit.acts import Act, declared
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making, signing
from tests.api.endpoints import (
    BODIES,
    CHANGES,
    NEEDS_S3,
    NOT_RECORDED,
    PIPELINE,
    QUERIES,
    READS,
    RESUME,
    SCOPES,
    UNKNOWN,
    former,
    named,
    unknown_code,
)
from tests.api.furnished import Furnished, conforms, furnished, operations, pages
from tests.api.tenant_api import everything, refused, unchanged
from tests.cases import rolled_back
from tests.words import words

# Each test sends hundreds of requests, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(600)
CHANGING = [endpoint for endpoint in CHANGES if endpoint[1] not in NEEDS_S3]
AUDITED = [*CHANGES, ("GET", "artifacts/{artifact_digest}")]
FILTERED = [
    f"{PIPELINE}/activation-requests?releaseVersion=asked&status=APPROVED",
    *words(
        """
        executions?pipelineId={pipeline_id} executions?idempotencyKey=first executions?status=DLQ
        dead-letters?pipelineId={pipeline_id} failure-groups?pipelineId={pipeline_id}&new=true
        questions?status=pending questions?stepId=Approve questions?stepName=validate
        executions?stepName=Validate workers?pipelineId={pipeline_id} workers?state=HEALTHY
        campaigns?status=RUNNING campaigns?pipelineId={pipeline_id}&releaseVersion=1.0
        deployments?pipelineId={pipeline_id} deployments?environment=production alerts?state=FIRING
        alerts?kind=newFailureGroup
        """
    ),
]
SHOWN = [path + QUERIES.get(path, "") for path in READS if not path.startswith(("artifact", "audit"))] + FILTERED
"""What a tenant sees, except for bytes, uploads, and the audit log, which grows with each act."""


@dataclass
class World:
    """Two tenants with the same objects, and what the first one saw before the second one existed."""

    ours: Furnished
    theirs: Furnished
    alone: dict[str, str]
    our_ids: set[str]
    strange: dict[str, str]
    """Names of objects that only a third tenant has."""


UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def ids(rows: Any) -> set[str]:
    return set(UUID.findall(str(rows)))


@pytest.fixture(scope="module")
def world(module_world: None, installation: None) -> World:
    ours = furnished()
    alone = {path: anonymized(ours, path) for path in SHOWN}
    our_ids = ids(everything())
    return World(ours, furnished(), alone, our_ids, strange())


def strange() -> dict[str, str]:
    owner = making.tenant()
    release = making.registered(owner, "7.0", pipeline_id="org.example.strange")
    making.worker(release, "strange-worker")
    return {
        "pipeline_id": "org.example.strange",
        "release_version": "7.0",
        "worker_id": "strange-worker",
        "key_id": signing.trusted(owner, "strange").key_id,
        "artifact_digest": release.artifacts.get().digest,
        "descriptor_digest": release.descriptor_digest,
        "digest": "sha256:" + "0" * 64,
    }


@pytest.fixture
def ours(world: World) -> Furnished:
    return world.ours


def anonymized(ours: Furnished, path: str) -> str:
    """Return the response to a GET with ids, times and the tenant replaced by placeholders."""
    response = ours.api.call("GET", ours.url(path))
    assert response.status_code == 200, (path, response.content)
    body = response.json()
    text = base64.b64decode(body["payload"]).decode() if "payloadType" in body else response.content.decode()
    text = re.sub(r"person-[0-9a-f]{10}", "PERSON", text.replace(ours.api.tenant.slug, "TENANT"))
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)|(?<=activeSeconds.:)[\d.e-]+", "TIME", text)
    text = re.sub(r"/releases/release/\d+/", "/releases/release/NUMBER/", text)
    known: dict[str, str] = {}
    return UUID.sub(lambda match: known.setdefault(match[0], f"#{len(known)}"), text)


def test_each_endpoint_of_the_product_has_a_row(document: dict[str, Any]) -> None:
    """An endpoint without a row in `tests/api/endpoints.py` would not be tested."""
    urls = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern)) for pattern in url_patterns}
    assert urls == {path for _, path in SCOPES}
    documented = operations(document)
    assert documented.keys() == SCOPES.keys() | {RESUME}
    takes_json = {
        endpoint
        for endpoint, operation in documented.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert takes_json == BODIES.keys()
    assert {name for _, path in SCOPES for name in re.findall(r"{(\w+)}", path)} == UNKNOWN.keys()
    assert len(pages(document)) > 20


def test_each_method_that_changes_something_declares_its_act_and_its_scope() -> None:
    for pattern in url_patterns:
        view = pattern.callback.view_class  # type: ignore[attr-defined]  # it is a class-based view
        for method in {"post", "put", "patch", "delete"} & set(dir(view)):
            declaration = declared(getattr(view, method))
            assert declaration, f"{method} {pattern.pattern}"
            assert declaration.act, f"{method} {pattern.pattern}"
            assert declaration.scopes


# --- denials ---


def test_only_a_token_with_the_right_scope_opens_an_endpoint(ours: Furnished, subtests: pytest.Subtests) -> None:
    """A denial names the scope, changes nothing, and leaves one entry in the audit log if the act has a name."""
    tokens = {scope: ours.api.without(scope) for scope in Scope}
    with unchanged():
        for method, path in SCOPES:
            with subtests.test(f"{method} {path}"):
                anonymous = ours.api.client.generic(method, ours.url(path), content_type="application/json")
                refused(anonymous, 401, "NOT_AUTHENTICATED")
                also = CHANGES[method, path].also if (method, path) in CHANGES else ()
                for scope in (SCOPES[method, path], *also):
                    recording.repeats.reset()
                    count = AuditEntry.objects.count()
                    denied = refused(ours.request(method, path, token=tokens[scope]), 403, "SCOPE_MISSING")
                    assert denied["scope"] == scope.value
                    entries = list(AuditEntry.objects.order_by("id")[count:])
                    if scope in also:
                        continue
                    assert [entry.outcome for entry in entries] == ["denied"] * ((method, path) in AUDITED)
                    if entries and method != "GET":
                        assert (entries[0].act, entries[0].tenant) == (CHANGES[method, path].act, ours.api.tenant)
                        assert entries[0].object.startswith(ours.api.url(""))
                        assert Act(entries[0].act)
    assert list(artifact_store().staging.iterdir()) == []


def test_the_url_of_another_tenant_is_that_of_none(world: World, subtests: pytest.Subtests) -> None:
    ours, theirs = world.ours.api, world.theirs
    count = AuditEntry.objects.filter(tenant=theirs.api.tenant).count()
    with unchanged():
        for method, path in SCOPES:
            with subtests.test(f"{method} {path}"):
                recording.repeats.reset()
                problem = refused(theirs.request(method, path, token=ours.all_scopes), 404, "NOT_FOUND")
                nowhere = theirs.url(path).replace(theirs.api.tenant.slug, "nowhere")
                other = refused(ours.call(method, nowhere, theirs.body(method, path)), 404, "NOT_FOUND")
                assert {**problem, "detail": problem["detail"].replace(theirs.api.tenant.slug, "nowhere")} == other
                if (method, path) in CHANGES:
                    entry = AuditEntry.objects.latest("id")
                    act = CHANGES[method, path].act
                    assert (entry.act, entry.outcome, entry.tenant) == (act, "denied", ours.tenant)
    assert AuditEntry.objects.filter(tenant=theirs.api.tenant).count() == count


NO_ID = "00000000-0000-4000-8000-000000000000"


def test_objects_that_do_not_exist_or_are_another_tenants_are_unknown(world: World, subtests: pytest.Subtests) -> None:
    ours = world.ours
    with unchanged():
        for method, path, name in named():
            with subtests.test(f"{method} {path}", name=name):
                details = set()
                for value in (NO_ID, (world.theirs.names | world.strange)[name]):
                    url = ours.url(path, **{name: value}) + QUERIES.get(path, "")
                    problem = ours.rejects(method, url, ours.body(method, path), 404, unknown_code(path, name))
                    details.add(problem["detail"].replace(value, ""))
                assert len(details) == 1


# --- successes ---


def test_reads_conform_to_the_document(ours: Furnished, document: dict[str, Any], subtests: pytest.Subtests) -> None:
    tokens = {scope: ours.api.token(scope) for scope in {*READS.values()}}
    with unchanged():
        for path, scope in READS.items():
            with subtests.test(path):
                response = ours.request("GET", path, token=tokens[scope])
                if path in NEEDS_S3:
                    refused(response, 409, "DIRECT_UPLOADS_UNAVAILABLE")
                    continue
                assert response.status_code == 200
                if response.streaming:
                    assert b"".join(response)
                elif response.headers["Content-Type"] == "application/json" or "dsse" in response["Content-Type"]:
                    body = conforms(document, "GET", path, response)
                    assert body.get("items", [body]), "the world has an object of each kind"


def test_each_change_succeeds_and_is_audited(world: World, document: dict[str, Any], subtests: pytest.Subtests) -> None:
    """It changes nothing of another tenant that has the same objects."""
    ours = world.theirs
    User.objects.filter(pk=ours.api.admin.pk).update(is_superuser=True)  # for quotas
    wanted = {(change.scope, *change.also) for change in CHANGES.values()}
    tokens = {scopes: ours.api.token(*scopes) for scopes in wanted}
    actors = {scopes: f"token:client-{number}" for number, scopes in enumerate(tokens, 1)}
    unmoved = set(everything())
    for method, path in CHANGING:
        change = CHANGES[method, path]
        scopes = (change.scope, *change.also)
        with subtests.test(f"{method} {path}"), rolled_back():
            if change.after:
                assert ours.request("POST", change.after, token=tokens[scopes]).status_code < 300
            before = set(everything()) if change.after else unmoved
            entries = AuditEntry.objects.count()
            response = ours.request(method, path, token=tokens[scopes], headers={"X-Request-ID": "request-1"})
            assert response.status_code == change.status, response.content
            conforms(document, method, path, response)
            touched = before ^ set(everything())
            assert bool(touched) is not path.endswith("preview")
            assert ids(touched).isdisjoint(world.our_ids)
            if change.act in NOT_RECORDED:
                assert AuditEntry.objects.count() == entries
                continue
            [entry] = AuditEntry.objects.order_by("id")[entries:]
            assert (entry.act, entry.outcome, entry.tenant) == (change.act, "granted", ours.api.tenant)
            assert (entry.request_id, entry.address, entry.actor) == ("request-1", "127.0.0.1", actors[scopes])
            assert entry.reason == change.body.get("reason", "")
            assert "response" not in entry.details


def test_repeated_denials_are_not_written(ours: Furnished) -> None:
    token, before = ours.api.token(Scope.READ), AuditEntry.objects.count()
    for path in ("executions", "executions:batch", "executions", "executions"):
        assert ours.request("POST", path, token=token).status_code == 403
    assert AuditEntry.objects.count() == before + 1


# --- two tenants ---


def test_a_tenant_sees_what_it_would_see_if_it_were_alone(world: World, subtests: pytest.Subtests) -> None:
    """Both tenants have the same objects, so each sees what the first one saw before the second existed."""
    for path, alone in world.alone.items():
        with subtests.test(path):
            assert anonymized(world.ours, path) == alone
            assert anonymized(world.theirs, path) == alone
            assert path not in FILTERED or json.loads(alone)["items"]


def test_the_identifier_of_another_tenants_question_answers_nothing(world: World) -> None:
    with unchanged():
        for name in ("questionId", "interactionId", "correlationId", "resumeToken"):
            body, path = {name: world.theirs.names[name], "response": 1}, "questions/answer"
            path = former(path) if name == "interactionId" else path
            refused(world.ours.api.post(path, body), 404, "INTERACTION_UNKNOWN")
