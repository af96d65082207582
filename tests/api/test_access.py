"""Tokens that are invalid or have ended, the last use of tokens, and what needs no token."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenancy.models import ApiToken
from tenancy.roles import Scope
from tests.api.endpoints import SUBMISSION
from tests.api.tenant_api import TenantApi, everything, refused
from tests.cases import cases

pytestmark = pytest.mark.django_db


@cases("authorization", ["", "Bearer", "Bearer nonsense", "Bearer dc_" + "0" * 64, "Basic YTpi", "Bearer é"])
def test_an_invalid_token_is_rejected(ours: TenantApi, authorization: str) -> None:
    before = everything()
    for method in ("GET", "POST"):
        response: Any = ours.call(method, ours.url("executions"), headers={"Authorization": authorization})
        refused(response, 401, "NOT_AUTHENTICATED")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert everything() == before


def test_an_expired_token_is_rejected_and_kept(ours: TenantApi) -> None:
    token = ours.token(*Scope, lifetime=timedelta(hours=1))
    ApiToken.objects.filter(tenant=ours.tenant).update(expiry=timezone.now())
    before = everything()
    assert "expired" in refused(ours.get("executions", token=token), 401, "NOT_AUTHENTICATED")["detail"]
    refused(ours.post("executions", SUBMISSION, token=token), 401, "NOT_AUTHENTICATED")
    assert everything() == before


def test_the_token_of_a_deactivated_or_deleted_user_is_rejected(ours: TenantApi) -> None:
    ours.admin.is_active = False
    ours.admin.save()
    refused(ours.get("pipelines"), 401, "NOT_AUTHENTICATED")
    ours.admin.delete()
    refused(ours.get("pipelines"), 401, "NOT_AUTHENTICATED")


def test_the_last_use_of_a_token_is_recorded_once_a_minute_for_reads(ours: TenantApi) -> None:
    ours.get("pipelines")
    first = ApiToken.objects.get(tenant=ours.tenant).last_used_at
    assert first is not None
    ours.get("pipelines")
    assert ApiToken.objects.get(tenant=ours.tenant).last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    ours.get("pipelines")
    assert ApiToken.objects.get(tenant=ours.tenant).last_used_at > first
