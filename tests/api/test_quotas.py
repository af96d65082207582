"""REST of quotas: who reads and changes them, what they show, and how requests beyond them are refused."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from releases.registration import upload_quotas
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.api.tenant_api import refused, upload

pytestmark = pytest.mark.django_db
NONE = {
    "submissionsPerSecond": None,
    "openExecutions": None,
    "payloadBytes": None,
    "storageBytes": None,
    "uploadsPerHour": None,
    "workers": None,
}


def limits(found: dict[str, Any]) -> dict[str, Any]:
    return {name: member["limit"] for name, member in found.items()}


@pytest.fixture
def member(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.SUBMIT, Scope.REGISTER, Scope.ADMINISTER)


@pytest.fixture
def staff(owner: Tenant) -> Caller:
    made = Caller(owner, Scope.READ, Scope.ADMINISTER)
    User.objects.filter(auth_token_set__name=made.token).update(is_superuser=True)
    return made


def test_a_member_reads_the_quotas_and_their_use(member: Caller, owner: Tenant) -> None:
    making.execution(owner, "open")
    found = member.get("quotas")
    assert limits(found) == NONE
    assert found["openExecutions"]["used"] == 1
    assert found["workers"]["used"] == 1
    assert found["uploadsPerHour"]["used"] == 1
    assert found["storageBytes"]["used"] == upload_quotas.stored_bytes(owner) > 0
    assert found["payloadBytes"]["used"] is None


def test_only_a_superuser_changes_quotas(member: Caller, staff: Caller) -> None:
    assert member.call("PUT", "quotas", {"workers": 5}, 403)["code"] == "SCOPE_MISSING"
    assert limits(member.get("quotas")) == NONE
    changed = staff.call("PUT", "quotas", {"workers": 5, "storageBytes": 10**12})
    assert limits(changed) == {**NONE, "workers": 5, "storageBytes": 10**12}
    assert limits(staff.call("PUT", "quotas", {"openExecutions": 7})) == {**NONE, "openExecutions": 7}
    outcomes = AuditEntry.objects.filter(act="quotas.change").order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == ["denied", "granted", "granted"]


def test_uploads_beyond_the_quotas_are_refused(member: Caller, owner: Tenant) -> None:
    Tenant.objects.filter(pk=owner.pk).update(quota_storage_bytes=upload_quotas.stored_bytes(owner))
    path = f"/api/v1/tenants/{owner.slug}/pipelines/{making.PIPELINE}/releases"
    document = refused(member.http.post(path, upload("2.0")), 409, "STORAGE_QUOTA_REACHED")
    assert document["quota"] == "storageBytes"
    Tenant.objects.filter(pk=owner.pk).update(quota_storage_bytes=None, quota_uploads=1)
    response = member.http.post(path, upload("2.0"))
    assert refused(response, 429, "QUOTA_EXCEEDED")["quota"] == "uploadsPerHour"
    assert response.headers["Retry-After"] == "60"
    Tenant.objects.filter(pk=owner.pk).update(quota_uploads=2)
    assert member.http.post(path, upload("2.0")).status_code == 202


def test_a_submission_beyond_a_quota_is_refused(member: Caller, owner: Tenant) -> None:
    Tenant.objects.filter(pk=owner.pk).update(quota_open_executions=1, quota_payload_bytes=10)

    def submit(key: str, value: Any) -> Any:
        body = {"pipelineId": making.PIPELINE, "input": value, "idempotencyKey": key}
        return member.http.post(f"/api/v1/tenants/{owner.slug}/executions", body, format="json")

    assert refused(submit("a", {"n": 1, "m": "long"}), 413, "PAYLOAD_TOO_LARGE")["quota"] == "payloadBytes"
    assert submit("a", {"n": 1}).status_code == 202
    response = submit("b", {"n": 1})
    assert refused(response, 429, "QUOTA_EXCEEDED") | {"quota": "openExecutions", "retryAfter": 1} == response.json()
    assert response.headers["Retry-After"] == "1"
    assert submit("a", {"n": 1}).status_code == 200
    found = member.get("quotas")["openExecutions"]
    assert found == {"limit": 1, "used": 1}
