"""Tokens that are invalid or have expired."""

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
