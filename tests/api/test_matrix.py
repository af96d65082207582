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
from tenancy.audit.acts import NAMES
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making, signing
from tests.api.endpoints import (
    BODIES,
    CHANGES,
    FILTERS,
    NEEDS_S3,
    NOT_RECORDED,
    PIPELINE,
    QUERIES,
    READS,
    REQUEST,
    RESUME,
    SCOPES,
    UNKNOWN,
    named,
    unknown_code,
)
from tests.api.furnished import Furnished, conforms, furnished, operations, pages, unchanged
from tests.api.tenant_api import everything, refused
from tests.cases import cases, rolled_back

# Each test sends hundreds of requests, which takes long on a busy machine.
pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
CHANGING = [endpoint for endpoint in CHANGES if endpoint[1] not in NEEDS_S3]
AUDITED = [*CHANGES, ("GET", "artifacts/{artifact_digest}")]
RELEASES = f"{PIPELINE}/releases"
FILTERED = [
    f"{PIPELINE}/activation-requests?releaseVersion=asked&status=APPROVED",
    *("executions?pipelineId={pipeline_id}", "executions?idempotencyKey=first", "executions?status=DLQ"),
    *("dead-letters?pipelineId={pipeline_id}", "failure-groups?pipelineId={pipeline_id}&new=true"),
    *("interactions?status=pending", "interactions?stepId=Approve"),
    *("workers?pipelineId={pipeline_id}", "workers?state=HEALTHY"),
    *("campaigns?status=RUNNING", "campaigns?pipelineId={pipeline_id}&releaseVersion=1.0"),
    *("deployments?pipelineId={pipeline_id}", "deployments?environment=production"),
    *("alerts?state=FIRING", "alerts?kind=newFailureGroup"),
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
    their_ids: set[str]
    strange: dict[str, str]
    """Names of objects that only a third tenant has."""

    def pair(self) -> list[tuple[Furnished, set[str]]]:
        """Return each tenant with the ids of the other one."""
        return [(self.ours, self.their_ids), (self.theirs, self.our_ids)]


UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def ids(rows: Any) -> set[str]:
    return set(UUID.findall(str(rows)))


@pytest.fixture(scope="module")
def world(module_world: None, installation: None) -> World:
    ours = furnished()
    alone = {path: anonymized(ours, path) for path in SHOWN}
    our_ids = ids(everything())
    theirs = furnished()
    return World(ours, theirs, alone, our_ids, ids(everything()) - our_ids, strange())


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
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    known: dict[str, str] = {}
    return UUID.sub(lambda found: known.setdefault(found[0], f"#{len(known)}"), text)


def test_each_endpoint_of_the_product_has_a_row(document: dict[str, Any]) -> None:
    """An endpoint without a row in `tests/api/endpoints.py` would not be tested."""
    urls = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(each.pattern)) for each in url_patterns}
    assert urls == {path for _, path in SCOPES}
    documented = operations(document)
    assert documented.keys() == SCOPES.keys() | {RESUME}
    takes_json = {
        endpoint
        for endpoint, each in documented.items()
        if "application/json" in each.get("requestBody", {}).get("content", {})
    }
    assert takes_json == BODIES.keys()
    parameters = {name for _, path in SCOPES for name in re.findall(r"{(\w+)}", path)}
    assert parameters == UNKNOWN.keys()
    assert len(pages(document)) > 20


# --- denials ---


@cases(("method", "path"), SCOPES)
def test_a_request_without_a_token_is_rejected(world: World, method: str, path: str) -> None:
    client, ours = world.ours.api.client, world.ours
    response = client.generic(method, ours.url(path), content_type="application/json")
    refused(response, 401, "NOT_AUTHENTICATED")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@cases(("method", "path"), SCOPES)
def test_only_the_right_scope_opens_an_endpoint(ours: Furnished, method: str, path: str) -> None:
    """A denial names the scope, changes nothing, and leaves one entry in the audit log if the act has a name."""
    needed = SCOPES[method, path]
    token, before = ours.api.without(needed), list(AuditEntry.objects.order_by("id"))
    recording.repeats.reset()
    with unchanged():
        assert refused(ours.request(method, path, token=token), 403, "SCOPE_MISSING")["scope"] == needed.value
    assert list(artifact_store().staging.iterdir()) == []
    entries = list(AuditEntry.objects.order_by("id"))[len(before) :]
    assert [each.outcome for each in entries] == ["denied"] * ((method, path) in AUDITED)
    if entries and method != "GET":
        assert (entries[0].act, entries[0].tenant) == (CHANGES[method, path].act, ours.api.tenant)
        assert entries[0].object.startswith(ours.api.url(""))
        assert entries[0].act in NAMES


@cases(("method", "path"), [endpoint for endpoint, change in CHANGES.items() for _ in change.also])
def test_a_body_that_needs_another_scope_is_denied_without_it(ours: Furnished, method: str, path: str) -> None:
    for scope in CHANGES[method, path].also:
        token = ours.api.without(scope)
        with unchanged():
            assert refused(ours.request(method, path, token=token), 403, "SCOPE_MISSING")["scope"] == scope.value


@cases(("method", "path"), SCOPES)
def test_the_url_of_another_tenant_is_that_of_none(world: World, method: str, path: str) -> None:
    ours, theirs = world.ours.api, world.theirs
    recording.repeats.reset()
    count = AuditEntry.objects.filter(tenant=theirs.api.tenant).count()
    with unchanged():
        found = refused(theirs.request(method, path, token=ours.all_scopes), 404, "NOT_FOUND")
        nowhere = theirs.url(path).replace(theirs.api.tenant.slug, "nowhere")
        other = refused(ours.call(method, nowhere, theirs.body(method, path)), 404, "NOT_FOUND")
    assert {**found, "detail": found["detail"].replace(theirs.api.tenant.slug, "nowhere")} == other
    assert AuditEntry.objects.filter(tenant=theirs.api.tenant).count() == count
    if (method, path) in CHANGES:
        entry = AuditEntry.objects.latest("id")
        assert (entry.act, entry.outcome, entry.tenant) == (CHANGES[method, path].act, "denied", ours.tenant)


@cases("slug", ["%00", "%FF", "T", "a" * 3_000])
def test_no_slug_of_any_characters_is_a_tenant(ours: Furnished, slug: str) -> None:
    for method, path in SCOPES:
        url = ours.url(path).replace(ours.api.tenant.slug, slug)
        ours.rejects(method, url, ours.body(method, path), 404, "NOT_FOUND")


NO_ID = "00000000-0000-4000-8000-000000000000"
ODD = ["%00", "a%00b", "%FF", "%2e%2e%2f", "%F0%9F%98%80", "a" * 3_000, "%27%3B--", "%0A"]


def url_with(ours: Furnished, method: str, path: str, name: str, value: str) -> str:
    """Return a URL in which only the parameter `name` is `value`, which is part of a URL already."""
    return ours.url(path, **{name: "PLACE"}).replace("PLACE", value) + QUERIES.get(path, "")


@cases(("method", "path", "name"), named())
def test_objects_that_do_not_exist_or_are_another_tenants_are_unknown(
    world: World, method: str, path: str, name: str
) -> None:
    ours, code = world.ours, unknown_code(path, name)
    details = []
    with unchanged():
        for value in (NO_ID, (world.theirs.names | world.strange)[name]):
            url = url_with(ours, method, path, name, value)
            found = ours.rejects(method, url, ours.body(method, path), 404, code)
            details.append(found["detail"].replace(value, ""))
        odd = ODD[len(path) % len(ODD)]
        response = ours.api.call(method, url_with(ours, method, path, name, odd), ours.body(method, path))
        assert refused(response, 404, response.json()["code"])["code"] in {"NOT_FOUND", code}
    assert len(set(details)) == 1


# --- successes ---


@cases("path", READS)
def test_a_read_conforms_to_the_document(ours: Furnished, document: dict[str, Any], path: str) -> None:
    token = ours.api.token(READS[path])
    response = ours.request("GET", path, token=token)
    if path in NEEDS_S3:
        refused(response, 409, "DIRECT_UPLOADS_UNAVAILABLE")
    elif response.streaming:
        assert b"".join(response)
    else:
        assert response.status_code == 200, response.content
        with unchanged():
            response = ours.request("GET", path, token=token)
        if response.headers["Content-Type"] == "application/json" or "dsse" in response.headers["Content-Type"]:
            body = conforms(document, "GET", path, response)
            assert body.get("items", [body]), "the world has an object of each kind"


@cases(("method", "path"), CHANGING)
def test_a_change_needs_no_other_scope_and_leaves_one_entry(
    world: World, document: dict[str, Any], method: str, path: str
) -> None:
    """It changes nothing of another tenant that has the same objects, older or younger."""
    change = CHANGES[method, path]
    for ours, foreign in world.pair():
        with rolled_back():
            if path == "quotas":
                User.objects.filter(pk=ours.api.admin.pk).update(is_superuser=True)
            token = ours.api.token(change.scope, *change.also)
            if change.after:
                assert ours.request("POST", change.after, token=token).status_code < 300
            before, entries = everything(), AuditEntry.objects.count()
            response = ours.request(method, path, token=token, headers={"X-Request-ID": "request-1"})
            assert response.status_code == change.status, response.content
            conforms(document, method, path, response)
            after = everything()
            touched = set(before) ^ set(after)
            assert bool(touched) is not path.endswith("preview")
            assert ids(touched).isdisjoint(foreign)
            if change.act in NOT_RECORDED:
                assert AuditEntry.objects.count() == entries
                continue
            [entry] = AuditEntry.objects.order_by("id")[entries:]
            assert (entry.act, entry.outcome, entry.tenant) == (change.act, "granted", ours.api.tenant)
            assert (entry.request_id, entry.address) == ("request-1", "127.0.0.1")
            assert entry.actor == f"token:client-{ours.api.tenant.tokens.count() - 1}"
            assert entry.reason == change.body.get("reason", "")
            assert "response" not in entry.details


REPEATABLE = [
    *(("campaigns/{campaign_id}/pause", 1), ("workers/{pipeline_id}/{worker_id}/drain", 1)),
    *((f"{PIPELINE}/attachments", 1), ("executions/{execution_id}/cancel", 1), (f"{REQUEST}/votes", 1)),
]


@cases(("path", "entries"), REPEATABLE)
def test_a_repeated_change_leaves_one_entry(ours: Furnished, path: str, entries: int) -> None:
    before = AuditEntry.objects.count()
    for _ in range(2):
        assert ours.request("POST", path).status_code in {200, 201}
    assert AuditEntry.objects.count() == before + entries


def test_repeated_denials_are_not_written(ours: Furnished) -> None:
    token, before = ours.api.token(Scope.READ), AuditEntry.objects.count()
    for path in ("executions", "executions:batch", "executions", "executions"):
        assert ours.request("POST", path, token=token).status_code == 403
    assert AuditEntry.objects.count() == before + 1


# --- two tenants ---


@cases("path", SHOWN)
def test_a_tenant_sees_what_it_would_see_if_it_were_alone(world: World, path: str) -> None:
    """Both tenants have the same objects, so each sees what the first one saw before the second existed."""
    assert anonymized(world.ours, path) == world.alone[path]
    assert anonymized(world.theirs, path) == world.alone[path]
    assert path not in FILTERED or json.loads(world.alone[path])["items"]


def test_a_campaign_counts_only_its_tenant(world: World) -> None:
    for ours, _ in world.pair():
        found = ours.api.post("campaigns/preview", {"filters": FILTERS}).json()
        assert (found["count"], len(found["executions"])) == (3, 3)
        assert ours.request("POST", "campaigns").json()["progress"]["total"] == 3


def test_the_identifier_of_another_tenants_interaction_completes_nothing(world: World) -> None:
    with unchanged():
        for name in ("interactionId", "correlationId", "resumeToken"):
            body = {name: world.theirs.names[name], "response": 1}
            refused(world.ours.api.post("interactions/complete", body), 404, "INTERACTION_UNKNOWN")


@cases("batch", [False, True])
def test_idempotency_keys_belong_to_a_tenant(world: World, batch: bool) -> None:
    """A key returns the tenant's own execution. The key of another tenant shows nothing."""
    for ours, theirs in ((world.ours, world.theirs), (world.theirs, world.ours)):

        def submitted(key: str, value: Any, ours: Furnished = ours, pipeline_id: str = making.PIPELINE) -> Any:
            body = {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key}
            if not batch:
                response = ours.api.post("executions", body)
                return response.status_code, response.json()
            [verdict] = ours.api.post("executions:batch", {"items": [body]}).json()["items"]
            return verdict["status"], verdict["execution"] or verdict["problem"]

        mine = str(ours.api.execution.pk)
        for _ in range(2):
            status, found = submitted("first", {"n": 1})
            assert (status, found["executionId"], found["duplicate"]) == (200, mine, True)
            assert ours.api.tenant.slug in found["links"]["self"]
        status, found = submitted("first", {"n": 2})
        assert (status, found["code"], found["executionId"]) == (409, "IDEMPOTENCY_KEY_REUSED", mine)
        name = f"pipeline.of.{theirs.api.tenant.slug}"
        making.ready(theirs.api.tenant, pipeline_id=name)
        making.execution(theirs.api.tenant, "taken", pipeline_id=name)
        status, found = submitted("taken", {"n": 1}, pipeline_id=name)
        assert (status, found["code"]) == (404, "PIPELINE_UNKNOWN")
