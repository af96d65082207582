"""Two tenants that use the same names: no endpoint shows, counts or changes objects of the other tenant."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from tests import making, signing
from tests.api.populated import populate
from tests.api.tenant_api import ELSEWHERE, ENDPOINTS, TenantApi, file, refused, tenant_api, upload

pytestmark = pytest.mark.django_db
Names = dict[str, str]
SEPARATE = ("artifact", "audit", "pipelines/{pipeline_id}/retirements")
"""Endpoints that need a store with direct uploads (see `tests/releases/test_two_tenants.py`), return bytes, change with
each act (see `test_audit`), or need a query."""
READS = [path for method, path in ENDPOINTS | ELSEWHERE if method == "GET"]
BLOCKERS = "pipelines/{pipeline_id}/retirements?releaseVersion=1.0"
OTHER = "org.example.other"


Twin = tuple[TenantApi, Names]


def furnished_house() -> Twin:
    """Return a tenant with objects of every kind, including a running, a waiting and a stranded execution."""
    made = tenant_api()
    found = populate(made)
    making.claimed(made.tenant)
    worker = making.worker(making.active(made.tenant, pipeline_id=OTHER), "worker-2")
    making.execution(made.tenant, "stranded", pipeline_id=OTHER)
    making.registered(made.tenant, "0.9", body="unneeded")
    making.silence(worker)
    assert made.all_scopes, "create the token outside of the rolled-back block"
    return made, {**{name: values[-1] for name, values in found.items()}, "live_id": found["execution_id"][1]}


@pytest.fixture
def twins(settings: Any) -> list[Twin]:
    """Two tenants with equal objects, the older one first."""
    settings.REST_WORKER_ORIGINS = ["http://worker.example"]
    return [furnished_house(), furnished_house()]


def url(ours: TenantApi, path: str, names: Names) -> str:
    return ours.url("") + path.format(**names)


def anonymized(ours: TenantApi, path: str, names: Names) -> str:
    """Return the response to a GET with ids, times and the tenant replaced by placeholders."""
    response = ours.call("GET", url(ours, path, names))
    assert response.status_code == 200, (path, response.content)
    text = _readable(response).replace(ours.tenant.slug, "TENANT")
    text = re.sub(r"person-[0-9a-f]{10}", "PERSON", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    known: dict[str, str] = {}
    return re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda found: known.setdefault(found[0], f"#{len(known)}"), text
    )


def _readable(response: Any) -> str:
    """Return the body of a response, or the signed document in its envelope."""
    body = response.json()
    return base64.b64decode(body["payload"]).decode() if "payloadType" in body else str(response.content.decode())


def test_a_tenant_sees_what_it_would_see_if_it_were_alone(subtests: pytest.Subtests) -> None:
    """Both tenants have the same objects, so each sees what the first one saw before the second existed."""
    ours, our_names = furnished_house()
    paths = [*(path for path in READS if not path.startswith(SEPARATE)), BLOCKERS, *FILTERED]
    alone = {path: anonymized(ours, path, our_names) for path in paths}
    assert all(json.loads(alone[path])["items"] for path in FILTERED)
    theirs, their_names = furnished_house()
    for path in paths:
        with subtests.test(path):
            assert anonymized(ours, path, our_names) == alone[path]
            assert anonymized(theirs, path, their_names) == alone[path]


FILTERED = [
    "pipelines/{pipeline_id}/activation-requests?releaseVersion=asked&status=APPROVED",
    "executions?pipelineId={pipeline_id}",
    "executions?idempotencyKey=first",
    "executions?status=DLQ",
    "dead-letters?pipelineId={pipeline_id}",
    "failure-groups?pipelineId={pipeline_id}&new=true",
    "interactions?status=pending",
    "interactions?stepId=Approve",
    "workers?pipelineId={pipeline_id}",
    "workers?state=HEALTHY",
    "campaigns?status=RUNNING",
    "campaigns?pipelineId={pipeline_id}&releaseVersion=1.0",
    "deployments?pipelineId={pipeline_id}",
    "deployments?environment=production",
    "alerts?state=FIRING",
    "alerts?kind=newFailureGroup",
]


def rows_of(theirs: TenantApi) -> list[Any]:
    """Return the tenant's rows of all tables."""
    found = []
    for app in ("tenancy", "releases", "executions", "alerts"):
        for model in apps.get_app_config(app).get_models():
            path = PATHS.get(model.__name__)
            if path is not None and model._meta.managed:
                rows = model._default_manager.filter(**{path: theirs.tenant.pk}).order_by("pk").values()
                found.append([{**row, "last_used_at": None} for row in rows])
    return found


PATHS = {
    "Tenant": "pk",
    "AuditEntry": "tenant",
    "AuditHead": "tenant",
    "Pipeline": "tenant",
    "Release": "pipeline__tenant",
    "Activation": "pipeline__tenant",
    "GradualActivation": "pipeline__tenant",
    "ActivationRequest": "pipeline__tenant",
    "Vote": "request__pipeline__tenant",
    "Revocation": "release__pipeline__tenant",
    "Retirement": "release__pipeline__tenant",
    "Attachment": "release__pipeline__tenant",
    "Deployment": "tenant",
    "TrustedKey": "tenant",
    "KeyRevocation": "key__tenant",
    "Execution": "tenant",
    "ExecutionEvent": "execution__tenant",
    "DeadLetter": "tenant",
    "FailureGroup": "tenant",
    "Campaign": "tenant",
    "CampaignItem": "campaign__tenant",
    "Resubmission": "execution__tenant",
    "SmokeTest": "release__pipeline__tenant",
    "AwaitUnit": "tenant",
    "Interaction": "tenant",
    "InteractionEvent": "tenant",
    "Worker": "tenant",
    "WorkerEvent": "worker__tenant",
    "Alert": "tenant",
    "AlertChannel": "tenant",
    "AlertDelivery": "tenant",
    "AlertEvent": "alert__tenant",
    "AlertRule": "tenant",
    "RuleChannel": "rule__tenant",
}
RELEASE = {"releaseVersion": "1.0", "reason": "why"}
GRADUAL = "pipelines/{pipeline_id}/gradual-activations/{gradual_id}"
FILTERS = {"pipelineId": making.PIPELINE}
WRITES: list[tuple[str, str, Any, int]] = [
    ("PATCH", "pipelines/{pipeline_id}", {"signaturePolicy": "warn", "retryLimit": 3}, 200),
    ("POST", "pipelines/{pipeline_id}/activations", RELEASE, 201),
    ("POST", f"{GRADUAL}/step", {"reason": "why"}, 200),
    ("POST", f"{GRADUAL}/promotion", {"reason": "why"}, 200),
    ("POST", f"{GRADUAL}/withdrawal", {"reason": "why"}, 200),
    ("POST", "pipelines/{pipeline_id}/activation-requests", RELEASE, 201),
    ("POST", "pipelines/{pipeline_id}/activation-requests/{request_id}/withdrawal", {"reason": "a mistake"}, 200),
    ("POST", "pipelines/{pipeline_id}/revocations", RELEASE, 201),
    ("POST", "pipelines/{pipeline_id}/retirements", {"releaseVersion": "0.9", "reason": "why"}, 201),
    ("POST", "members", {"username": "{username}", "role": "viewer"}, 201),
    ("POST", "members/remove", {"username": "{username}", "role": "operator"}, 200),
    ("POST", "trusted-keys/{key_id}/revoke", {"reason": "leaked"}, 200),
    ("POST", "executions/{execution_id}/redrive", {"reason": "fixed"}, 200),
    ("POST", "executions/{execution_id}/resubmit", {"reason": "fixed"}, 202),
    (
        "POST",
        "pipelines/{pipeline_id}/releases/{release_version}/smoke",
        {"input": {"n": 1}, "idempotencyKey": "k"},
        202,
    ),
    ("POST", "executions/{live_id}/cancel", {"reason": "a mistake"}, 200),
    ("POST", "campaigns", {"filters": FILTERS, "reason": "fixed", "ratePerMinute": 1}, 201),
    ("POST", "campaigns/preview", {"filters": FILTERS}, 200),
    ("PATCH", "failure-groups/{failure_group_id}", {"note": "the bank is down"}, 200),
    ("POST", "campaigns/{campaign_id}/pause", {}, 200),
    ("POST", "campaigns/{campaign_id}/cancel", {}, 200),
    ("POST", "interactions/complete", {"correlationId": "{correlationId}", "response": {"n": 1}}, 200),
    ("POST", "interactions/{interaction_id}/claim", {}, 200),
    ("POST", "workers/{pipeline_id}/{worker_id}/drain", {"reason": "new disk"}, 200),
    (
        "POST",
        "workers",
        {
            "pipelineId": making.PIPELINE,
            "contractVersion": "c",
            "releaseVersion": "1.0",
            "workerId": "rest-1",
            "endpoint": "http://worker.example",
        },
        200,
    ),
    ("POST", "executions", {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "new"}, 202),
    ("POST", "alerts/{alert_id}/silence", {"until": "2030-01-01T00:00:00Z"}, 200),
    ("POST", "alert-channels", {"name": "new", "kind": "email", "address": "a@example.com"}, 201),
    ("PATCH", "alert-channels/{channel_id}", {"enabled": False}, 200),
    ("POST", "alert-channels/{channel_id}/test", {}, 202),
    ("POST", "alert-channels/{channel_id}/remove", {}, 200),
    ("POST", "alert-rules", {"name": "new", "kind": "stranded", "pipelineId": making.PIPELINE}, 201),
    ("PATCH", "alert-rules/{rule_id}", {"enabled": False}, 200),
    ("POST", "alert-rules/{rule_id}/remove", {}, 200),
]


@contextmanager
def rolled_back() -> Iterator[None]:
    """Roll the block back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_a_write_changes_nothing_of_the_tenant_with_the_same_names(
    twins: list[Twin], subtests: pytest.Subtests
) -> None:
    for (ours, names), (theirs, _) in (twins, twins[::-1]):
        before, mine = rows_of(theirs), rows_of(ours)
        for method, path, body, status in WRITES:
            with subtests.test(f"{method} {path}", older=ours is twins[0][0]), rolled_back():
                sent = {
                    name: value.format(**names) if isinstance(value, str) else value for name, value in body.items()
                }
                response = ours.call(method, url(ours, path, names), sent)
                assert response.status_code == status, response.content
                assert rows_of(theirs) == before
                assert (rows_of(ours) != mine) is not path.endswith("preview")


def test_a_preview_and_a_campaign_count_only_their_tenant(twins: list[Twin]) -> None:
    for ours, _ in twins:
        found = ours.post("campaigns/preview", {"filters": FILTERS}).json()
        assert (found["count"], len(found["executions"])) == (3, 3)
        started = ours.post("campaigns", {"filters": FILTERS, "reason": "fixed", "ratePerMinute": 1}).json()
        assert started["progress"]["total"] == 3


# --- submissions that take the slow path ---


def submitted(
    ours: TenantApi, key: str, value: Any, batch: bool, pipeline_id: str = making.PIPELINE
) -> tuple[int, Any]:
    body = {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key}
    response = ours.post("executions:batch" if batch else "executions", {"items": [body]} if batch else body)
    if not batch:
        return response.status_code, response.json()
    [verdict] = response.json()["items"]
    return verdict["status"], verdict["execution"] or verdict["problem"]


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
def test_repeated_and_reused_keys_return_the_tenants_own_execution(batch: bool) -> None:
    for ours in [tenant_api(), tenant_api()]:
        for _ in range(2):
            status, found = submitted(ours, "first", {"n": 1}, batch)
            assert (status, found["executionId"], found["duplicate"]) == (200, str(ours.execution.pk), True)
            assert ours.tenant.slug in found["links"]["self"]
        status, found = submitted(ours, "first", {"n": 2}, batch)
        assert (status, found["code"], found["executionId"]) == (
            409,
            "IDEMPOTENCY_KEY_REUSED",
            str(ours.execution.pk),
        )


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
def test_an_error_shows_nothing_of_another_tenants_key(batch: bool) -> None:
    """The pipeline and the key only exist in the other tenant."""
    twins = [tenant_api(), tenant_api()]
    for ours, theirs in (twins, twins[::-1]):
        name = f"pipeline.of.{theirs.tenant.slug}"
        making.ready(theirs.tenant, pipeline_id=name)
        making.execution(theirs.tenant, "taken", pipeline_id=name)
        status, found = submitted(ours, "taken", {"n": 1}, batch, name)
        assert (status, found["code"]) == (404, "PIPELINE_UNKNOWN")


# --- names in bodies ---


def test_the_identifier_of_another_tenants_interaction_completes_nothing(twins: list[Twin]) -> None:
    (ours, _), (theirs, names) = twins
    before = rows_of(theirs)
    for name in ("interactionId", "correlationId", "resumeToken"):
        refused(ours.post("interactions/complete", {name: names[name], "response": 1}), 404, "INTERACTION_UNKNOWN")
    assert rows_of(theirs) == before


def test_uploads_and_attachments_belong_to_the_tenants_own_release(twins: list[Twin]) -> None:
    for (ours, names), (theirs, _) in (twins, twins[::-1]):
        before = rows_of(theirs)
        form: dict[str, Any] = {
            "releaseVersion": "1.0",
            "attachment": file(json.dumps(signing.cyclone([ours.tenant.slug])).encode(), "sbom.json"),
        }
        address = url(ours, "pipelines/{pipeline_id}/attachments", names)
        assert ours.call("POST", address, form).status_code == 200
        made = ours.call("POST", url(ours, "pipelines/{pipeline_id}/releases", names), upload("3.0"))
        assert made.status_code == 202, made.content
        assert rows_of(theirs) == before
