"""Roles that wait for a user, and whom they reach."""

import pytest
from django.contrib.auth.models import User

from tenancy import members
from tenancy.access import tenants_of
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.cases import cases

pytestmark = pytest.mark.django_db


def give(tenant: Tenant, name: str = "eva", role: Role = Role.VIEWER) -> Membership:
    return members.add(tenant, name, role, actor="user:ann")[0]


@cases("way", ["created", "activated", "renamed", "there"])
def test_a_role_reaches_the_active_user_of_the_name(way: str) -> None:
    tenant, other = making.tenant(), making.tenant()
    name = {"created": "", "activated": "eva", "renamed": "old", "there": "eva"}[way]
    user = User.objects.create_user(name, is_active=way != "activated") if name else None
    given = give(tenant)
    give(other, "ed")
    assert (given.user is None) is (way != "there")
    entries = AuditEntry.objects.filter(act="membership.begin")
    assert not entries.exists()
    if user is None:
        user = User.objects.create_user("eva")
    elif way != "there":
        user.username, user.is_active = "eva", True
        user.save()
    assert (list(tenants_of(user)), Membership.objects.get(pk=given.pk).user) == ([tenant], user)
    begun = [(entry.tenant, entry.object, entry.details) for entry in entries]
    expected = [(None, "eva", f'{{"role":"viewer","tenant":"{tenant.slug}"}}')]
    assert begun == (expected if way != "there" else []), "the tenant's own chain does not tell"


def test_a_role_that_the_user_has_already_is_not_given_twice_and_a_removed_one_not_at_all() -> None:
    tenant = making.tenant()
    user = User.objects.create_user("old")
    given = Membership.objects.create(user=user, tenant=tenant, role=Role.VIEWER)
    for role in (Role.VIEWER, Role.OPERATOR, Role.ON_CALL):
        give(tenant, role=role)
    members.remove(tenant, "eva", Role.OPERATOR, actor="user:ann")
    user.username = "eva"
    user.save()
    assert list(tenant.memberships.order_by("id").values_list("user", "role")) == [
        (user.pk, given.role),
        (user.pk, Role.ON_CALL),
    ]
