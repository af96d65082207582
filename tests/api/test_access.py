"""Permissions of the REST API. A denied request changes nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from releases.artifacts.store import artifact_store
from tenancy.models import ApiToken
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import ENDPOINTS, TenantApi, everything, refused, upload

pytestmark = pytest.mark.django_db
IMAGE = {
    "artifactId": "i",
    "kind": "container-image",
    "uri": "r.example/i@sha256:" + "0" * 64,
    "digest": "sha256:" + "0" * 64,
}
endpoint = pytest.mark.parametrize(("method", "path"), list(ENDPOINTS))


def denied(response: Any, before: list[Any], status: int, code: str) -> dict[str, Any]:
    document = refused(response, status, code)
    assert everything() == before
    assert list(artifact_store().staging.iterdir()) == []
    return document


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer nonsense", "Bearer dc_" + "0" * 64, "Basic YTpi", "Bearer a b", "Bearer é"],
)
def test_a_request_without_a_token_is_rejected(
    ours: TenantApi, authorization: str | None, subtests: pytest.Subtests
) -> None:
    before = everything()
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in ENDPOINTS:
        with subtests.test(method=method, path=path):
            body = ours.body(method, path)
            if method == "POST" and path.endswith("releases"):
                response: Any = Client().post(ours.url(path), body, headers=headers)
            else:
                response = Client().generic(method, ours.url(path), headers=headers)
            denied(response, before, 401, "NOT_AUTHENTICATED")
            assert response.headers["WWW-Authenticate"] == "Bearer"


@endpoint
def test_an_expired_token_is_rejected_and_kept(ours: TenantApi, method: str, path: str) -> None:
    token = ours.token(*Scope, lifetime=timedelta(hours=1))
    ApiToken.objects.filter(tenant=ours.tenant).update(expiry=timezone.now())
    before = everything()
    response = ours.call(method, ours.url(path), ours.body(method, path), token=token)
    assert "expired" in denied(response, before, 401, "NOT_AUTHENTICATED")["detail"]
    assert ApiToken.objects.filter(tenant=ours.tenant).count() == 1


def test_the_token_of_a_deactivated_user_is_rejected(ours: TenantApi) -> None:
    token = ours.all_scopes
    ours.admin.is_active = False
    ours.admin.save()
    refused(ours.get("pipelines", token=token), 401, "NOT_AUTHENTICATED")
    ours.admin.delete()
    refused(ours.get("pipelines", token=token), 401, "NOT_AUTHENTICATED")


def test_a_session_of_the_admin_is_not_a_token(ours: TenantApi) -> None:
    client = Client()
    client.force_login(ours.admin)
    refused(client.get(ours.url("pipelines")), 401, "NOT_AUTHENTICATED")


@endpoint
def test_each_endpoint_requires_exactly_one_scope(
    ours: TenantApi, method: str, path: str, subtests: pytest.Subtests
) -> None:
    needed = ENDPOINTS[method, path]
    tokens = {scope: ours.token(scope) for scope in Scope}
    for scope in tokens.keys() - {needed}:
        with subtests.test(scope=scope):
            before = everything()
            response = ours.call(method, ours.url(path), ours.body(method, path), token=tokens[scope])
            assert denied(response, before, 403, "SCOPE_MISSING")["scope"] == needed.value
    response = ours.call(method, ours.url(path), ours.body(method, path), token=tokens[needed])
    assert response.status_code in {200, 201, 202}, response.content


@endpoint
def test_the_url_of_another_tenant_is_a_404_and_not_a_403(
    ours: TenantApi, theirs: TenantApi, method: str, path: str
) -> None:
    token = ours.token(*Scope)
    before = everything()
    response = ours.call(method, theirs.url(path), theirs.body(method, path), token=token)
    document = denied(response, before, 404, "NOT_FOUND")
    nowhere = ours.url(path).replace(ours.tenant.slug, "nowhere")
    other = refused(ours.call(method, nowhere, ours.body(method, path), token=token), 404, "NOT_FOUND")
    same = document["detail"].replace(theirs.tenant.slug, "nowhere")
    assert {**other, "detail": ""} == {**document, "detail": ""}
    assert other["detail"] == same


@pytest.mark.parametrize("path", ["executions/{}", "executions/{}/result", "executions/{}/events"])
def test_an_execution_of_another_tenant_is_unknown(ours: TenantApi, theirs: TenantApi, path: str) -> None:
    never = "00000000-0000-4000-8000-000000000000"
    details = [
        refused(ours.get(path.format(key)), 404, "EXECUTION_UNKNOWN")["detail"].replace(str(key), "")
        for key in (theirs.execution.pk, never)
    ]
    assert details[0] == details[1]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        where
        for where in ENDPOINTS
        if where[1].startswith("pipelines/{pipeline_id}") and where != ("POST", "pipelines/{pipeline_id}/releases")
    ],
)
def test_another_tenants_pipeline_is_unknown(ours: TenantApi, theirs: TenantApi, method: str, path: str) -> None:
    making.registered(theirs.tenant, pipeline_id="org.example.theirs")
    token = ours.all_scopes
    before = everything()
    url = ours.url(path.replace("{pipeline_id}", "org.example.theirs"))
    denied(ours.call(method, url, ours.body(method, path), token=token), before, 404, "PIPELINE_UNKNOWN")


def test_an_upload_with_the_pipeline_id_of_another_tenant_creates_a_separate_pipeline(
    ours: TenantApi, theirs: TenantApi
) -> None:
    theirs.post("pipelines/{pipeline_id}/releases", upload("2.0"))
    assert ours.post("pipelines/{pipeline_id}/releases", upload("2.0", artifacts=[IMAGE])).status_code == 202
    shown = theirs.get("pipelines/{pipeline_id}/releases/2.0").json()
    assert shown["artifacts"][0]["kind"] == "local-file"


def test_lists_contain_nothing_of_another_tenant(ours: TenantApi, theirs: TenantApi) -> None:
    for path in ("pipelines", "executions", "workers"):
        assert len(ours.get(path).json()["items"]) == 1
    assert [item["executionId"] for item in ours.get("executions").json()["items"]] == [str(ours.execution.pk)]


def test_a_filter_matches_nothing_of_another_tenant(ours: TenantApi, theirs: TenantApi) -> None:
    body = {"pipelineId": "org.example.orders", "input": {"n": 2}, "idempotencyKey": "only-theirs"}
    assert theirs.post("executions", body).status_code == 202
    assert ours.get("executions?idempotencyKey=only-theirs").json()["items"] == []


def test_the_last_use_of_a_token_is_recorded_once_a_minute_for_reads(ours: TenantApi) -> None:
    token = ours.all_scopes
    ours.get("pipelines", token=token)
    first = ApiToken.objects.get(tenant=ours.tenant).last_used_at
    assert first is not None
    ours.get("pipelines", token=token)
    assert ApiToken.objects.get(tenant=ours.tenant).last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    ours.get("pipelines", token=token)
    assert ApiToken.objects.get(tenant=ours.tenant).last_used_at > first


def test_health_needs_no_token_and_shows_nothing_of_tenants() -> None:
    assert Client().get("/health/live").json() == {"status": "UP"}
    parts = dict.fromkeys(["status", "database", "migrations", "broker", "artifactStore"], "UP")
    assert Client().get("/health/ready").json() == parts
