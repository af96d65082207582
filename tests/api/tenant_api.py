"""A tenant with a client of its REST API, the table of endpoints, and checks of problem documents."""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from executions.models import Execution
from foundation.api.problem_shape import PROBLEM
from releases.models import Release
from tenancy.access import issue_token
from tenancy.models import ApiToken, AuditEntry, AuditHead, Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making

AUDIT = {AuditEntry, AuditHead}
IS_PROBLEM = jsonschema.Draft202012Validator(PROBLEM)
ENDPOINTS = {
    ("GET", "pipelines"): Scope.READ,
    ("GET", "pipelines/{pipeline_id}"): Scope.READ,
    ("GET", "pipelines/{pipeline_id}/releases"): Scope.READ,
    ("POST", "pipelines/{pipeline_id}/releases"): Scope.REGISTER,
    ("GET", "pipelines/{pipeline_id}/releases/{release_version}"): Scope.READ,
    ("GET", "pipelines/{pipeline_id}/activations"): Scope.READ,
    ("POST", "pipelines/{pipeline_id}/activations"): Scope.ACTIVATE,
    ("GET", "executions"): Scope.READ,
    ("POST", "executions"): Scope.SUBMIT,
    ("GET", "executions/{execution_id}"): Scope.READ,
    ("GET", "executions/{execution_id}/result"): Scope.PAYLOADS,
    ("GET", "executions/{execution_id}/events"): Scope.READ,
    ("GET", "executions/{execution_id}/provenance"): Scope.READ,
    ("GET", "provenance-key"): Scope.READ,
    ("GET", "workers"): Scope.READ,
    ("GET", "status"): Scope.READ,
}
"""The endpoints whose permissions and invalid input are tested together, with the scope that each requires."""
ELSEWHERE = {
    ("PATCH", "pipelines/{pipeline_id}"): "test_policy",
    ("POST", "pipelines/{pipeline_id}/revocations"): "test_revocations",
    ("GET", "pipelines/{pipeline_id}/retirements"): "test_retirements",
    ("POST", "pipelines/{pipeline_id}/retirements"): "test_retirements",
    ("POST", "pipelines/{pipeline_id}/rollback"): "test_rollbacks",
    ("GET", "pipelines/{pipeline_id}/activation-requests"): "test_requests",
    ("POST", "pipelines/{pipeline_id}/activation-requests"): "test_requests",
    ("GET", "pipelines/{pipeline_id}/activation-requests/{request_id}"): "test_requests",
    ("POST", "pipelines/{pipeline_id}/activation-requests/{request_id}/votes"): "test_requests",
    ("POST", "pipelines/{pipeline_id}/activation-requests/{request_id}/withdrawal"): "test_requests",
    ("GET", "pipelines/{pipeline_id}/gradual-activations"): "test_gradual_activations",
    ("POST", "pipelines/{pipeline_id}/gradual-activations"): "test_gradual_activations",
    ("GET", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}"): "test_gradual_activations",
    ("POST", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}/step"): "test_gradual_activations",
    ("POST", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}/promotion"): "test_gradual_activations",
    ("POST", "pipelines/{pipeline_id}/gradual-activations/{gradual_id}/withdrawal"): "test_gradual_activations",
    ("GET", "pipelines/{pipeline_id}/active"): "test_history",
    ("GET", "pipelines/{pipeline_id}/history/export"): "test_history",
    ("POST", "pipelines/{pipeline_id}/attachments"): "test_trust",
    ("GET", "pipelines/{pipeline_id}/attachments/{digest}"): "test_trust",
    ("GET", "trusted-keys"): "test_trust",
    ("POST", "trusted-keys"): "test_trust",
    ("POST", "trusted-keys/{key_id}/revoke"): "test_trust",
    ("POST", "executions/{execution_id}/redrive"): "test_operators",
    ("POST", "executions/{execution_id}/cancel"): "test_operators",
    ("POST", "executions/{execution_id}/pause"): "test_holds",
    ("POST", "executions/{execution_id}/resume"): "test_holds",
    ("POST", "pipelines/{pipeline_id}/pause"): "test_holds",
    ("POST", "pipelines/{pipeline_id}/resume"): "test_holds",
    ("GET", "holds"): "test_holds",
    ("POST", "executions/{execution_id}/resubmit"): "test_resubmissions",
    ("GET", "pipelines/{pipeline_id}/releases/{release_version}/smoke"): "test_smoke_tests",
    ("POST", "pipelines/{pipeline_id}/releases/{release_version}/smoke"): "test_smoke_tests",
    ("GET", "pipelines/{pipeline_id}/releases/{release_version}/smoke/{smoke_test_id}"): "test_smoke_tests",
    ("GET", "dead-letters"): "test_operators",
    ("GET", "failure-groups"): "test_failure_groups",
    ("GET", "failure-groups/{failure_group_id}"): "test_failure_groups",
    ("PATCH", "failure-groups/{failure_group_id}"): "test_failure_groups",
    ("GET", "campaigns"): "test_campaigns",
    ("POST", "campaigns"): "test_campaigns",
    ("POST", "campaigns/preview"): "test_campaigns",
    ("GET", "campaigns/{campaign_id}"): "test_campaigns",
    ("GET", "campaigns/{campaign_id}/items"): "test_campaigns",
    ("POST", "campaigns/{campaign_id}/start"): "test_campaigns",
    ("POST", "campaigns/{campaign_id}/discard"): "test_campaigns",
    ("POST", "campaigns/{campaign_id}/pause"): "test_campaigns",
    ("POST", "campaigns/{campaign_id}/resume"): "test_campaigns",
    ("POST", "campaigns/{campaign_id}/cancel"): "test_campaigns",
    ("GET", "interactions"): "test_interactions",
    ("GET", "interactions/{interaction_id}"): "test_interactions",
    ("POST", "interactions/complete"): "test_interactions",
    ("POST", "interactions/{interaction_id}/claim"): "test_claims",
    ("POST", "interactions/{interaction_id}/release"): "test_claims",
    ("POST", "interactions/{interaction_id}/delegate"): "test_claims",
    ("GET", "workers/{pipeline_id}/{worker_id}/events"): "test_workers",
    ("POST", "workers/{pipeline_id}/{worker_id}/drain"): "test_workers",
    ("POST", "workers/{pipeline_id}/{worker_id}/undrain"): "test_workers",
    ("POST", "workers"): "test_workers",
    ("POST", "workers/{pipeline_id}/{worker_id}/heartbeat"): "test_workers",
    ("GET", "stranded"): "test_workers",
    ("POST", "executions:batch"): "test_batch",
    ("GET", "pipelines/{pipeline_id}/descriptors/{descriptor_digest}"): "test_descriptors",
    ("GET", "deployments"): "test_deployments",
    ("GET", "pipelines/{pipeline_id}/comparison"): "test_comparison",
    ("GET", "pipelines/{pipeline_id}/releases/{release_version}/preflight"): "test_preflights",
    ("GET", "pipelines/{pipeline_id}/drift"): "test_drift",
    ("GET", "drift"): "test_drift",
    ("GET", "members"): "test_members",
    ("POST", "members"): "test_members",
    ("POST", "members/remove"): "test_members",
    ("GET", "worker-plan"): "test_worker_plan",
    ("GET", "quotas"): "test_quotas",
    ("PUT", "quotas"): "test_quotas",
    ("GET", "audit"): "test_audit",
    ("GET", "audit/export"): "test_audit",
    ("GET", "artifacts/{artifact_digest}"): "test_artifacts",
    ("POST", "artifact-uploads"): "test_uploads",
    ("GET", "artifact-uploads/{upload_id}"): "test_uploads",
    ("POST", "artifact-uploads/{upload_id}/complete"): "test_uploads",
    ("GET", "alerts"): "test_alerts",
    ("GET", "alerts/{alert_id}"): "test_alerts",
    ("POST", "alerts/{alert_id}/silence"): "test_alerts",
    ("GET", "alert-channels"): "test_alerts",
    ("POST", "alert-channels"): "test_alerts",
    ("GET", "alert-channels/{channel_id}"): "test_alerts",
    ("PATCH", "alert-channels/{channel_id}"): "test_alerts",
    ("POST", "alert-channels/{channel_id}/remove"): "test_alerts",
    ("POST", "alert-channels/{channel_id}/test"): "test_alerts",
    ("GET", "alert-rules"): "test_alerts",
    ("POST", "alert-rules"): "test_alerts",
    ("GET", "alert-rules/{rule_id}"): "test_alerts",
    ("PATCH", "alert-rules/{rule_id}"): "test_alerts",
    ("POST", "alert-rules/{rule_id}/remove"): "test_alerts",
}
"""The endpoints that are tested in separate modules next to this file."""


@dataclass
class TenantApi:
    """A tenant with an active release, a worker and an execution, and a client with a token of all scopes."""

    tenant: Tenant
    admin: User
    release: Release
    execution: Execution

    def token(self, *scopes: Scope, lifetime: timedelta | None = None) -> str:
        name = f"client-{self.tenant.tokens.count()}"
        _, plain = issue_token(self.tenant, self.admin, name, scopes, lifetime=lifetime)
        return plain

    @cached_property
    def all_scopes(self) -> str:
        return self.token(*Scope)

    @cached_property
    def client(self) -> Client:
        return Client()

    def url(self, path: str) -> str:
        """Return the URL of `path`. Placeholders are replaced by the names of this tenant's objects."""
        names = {
            "pipeline_id": making.PIPELINE,
            "release_version": self.release.release_version,
            "execution_id": self.execution.pk,
        }
        return f"/api/v1/tenants/{self.tenant.slug}/{path.format(**names)}"

    def body(self, method: str, path: str) -> Any:
        """Return a valid body for the endpoint."""
        if method == "GET":
            return None
        if path == "executions":
            return {"pipelineId": making.PIPELINE, "input": {"n": 2}, "idempotencyKey": "second"}
        if path.endswith("activations"):
            return {"releaseVersion": self.release.release_version}
        return upload()

    def call(self, method: str, url: str, body: Any = None, *, token: str | None = None, **more: Any) -> Any:
        """Send a request. `body` is bytes, a form if it contains files, or a value to send as JSON."""
        headers = {"Authorization": f"Bearer {self.all_scopes if token is None else token}", **more.pop("headers", {})}
        if isinstance(body, dict) and any(isinstance(value, SimpleUploadedFile) for value in body.values()):
            return self.client.post(url, body, headers=headers, **more)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.client.generic(
            method, url, data, more.pop("content_type", "application/json"), headers=headers, **more
        )

    def get(self, path: str, **more: Any) -> Any:
        return self.call("GET", self.url(path), **more)

    def post(self, path: str, body: Any, **more: Any) -> Any:
        return self.call("POST", self.url(path), body, **more)


def tenant_api() -> TenantApi:
    tenant, release = making.ready()
    admin = User.objects.create_user(f"admin-{tenant.slug}")
    Membership.objects.create(user=admin, tenant=tenant, role=Role.TENANT_ADMIN)
    return TenantApi(tenant, admin, release, making.execution(tenant, "first"))


def upload(version: str = "2.0", **changes: Any) -> dict[str, Any]:
    """Return the form of a valid release."""
    contract = making.contract()
    data = making.archive(contract, code=version)
    document = {**making.descriptor(contract, data, version), **changes}
    return {"descriptor": file(json.dumps(document).encode(), "pipeline-release.json"), "artifact": file(data)}


def file(data: bytes, name: str = "app.zip") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def everything() -> list[Any]:
    """Return all rows of the product's tables, except for the last use of tokens, and the audit log.

    The audit log contains also the acts that were denied and changed nothing else.
    """
    apps_models = (apps.get_app_config(app).get_models() for app in ("tenancy", "releases", "executions", "alerts"))
    tables = [
        model._meta.db_table for each in apps_models for model in each if model._meta.managed and model not in AUDIT
    ]
    changing = {ApiToken._meta.db_table: " - 'last_used_at'"}
    rows = (f"SELECT '{table}', to_jsonb(r){changing.get(table, '')} FROM {table} r" for table in tables)
    with connection.cursor() as cursor:
        cursor.execute(f"{' UNION ALL '.join(rows)} ORDER BY 1, 2")
        return list(cursor.fetchall())


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of a response. It must have the common shape, the status and the code."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    IS_PROBLEM.validate(document)
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["type"] == f"urn:durable-coordinator:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return document


def fields(document: dict[str, Any]) -> dict[str, str]:
    """Return the field and the code of each error of a problem document."""
    return {error["field"]: error["code"] for error in document.get("errors", ())}
