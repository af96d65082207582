"""REST of quotas: who reads and changes them, what they show, and how requests beyond them are refused."""

from typing import Any

import pytest

from releases.registration import upload_quotas
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.api.tenant_api import TenantApi, upload

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
def owner() -> Tenant:
    owner = making.tenant()
    making.ready(owner)
    return owner


@pytest.fixture
def member(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.SUBMIT, Scope.REGISTER, Scope.ADMINISTER)


@pytest.fixture
def staff(owner: Tenant) -> Caller:
    made = Caller(owner, Scope.READ, Scope.ADMINISTER)
    made.user.is_superuser = True
    made.user.save()
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
    assert member.refused("PUT", "quotas", {"workers": 5})["code"] == "SCOPE_MISSING"
    assert limits(member.get("quotas")) == NONE
    changed = staff.call("PUT", "quotas", {"workers": 5, "storageBytes": 10**12})
    assert limits(changed) == {**NONE, "workers": 5, "storageBytes": 10**12}
    assert limits(staff.call("PUT", "quotas", {"openExecutions": 7})) == {**NONE, "openExecutions": 7}
    outcomes = AuditEntry.objects.filter(act="quotas.change").order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == ["denied", "granted", "granted"]
