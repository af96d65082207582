"""What people decide about a group of failures."""

from collections.abc import Callable
from functools import partial

import pytest
from django.contrib.auth.models import User

from executions.errors import AssigneeInvalid, FailureGroupUnknown
from executions.failures import acts, queries
from executions.models import IS_NEW, FailureGroup
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
Change = Callable[..., FailureGroup]


@pytest.fixture(scope="module")
def owner(module_world: None) -> Tenant:
    owner, _ = making.ready()
    making.dead(owner, "k1")
    return owner


@pytest.fixture
def change(owner: Tenant) -> Change:
    return partial(acts.change, owner, FailureGroup.objects.get().pk, actor="user:eva")


def person(name: str, owner: Tenant, role: Role) -> None:
    Membership.objects.create(user=User.objects.create_user(name), tenant=owner, role=role)


def entries() -> list[tuple[str, str, str]]:
    acts = AuditEntry.objects.filter(act="failure_group.change").order_by("id")
    return [(entry.actor, entry.outcome, entry.details) for entry in acts]


def test_a_group_is_acknowledged_and_that_is_withdrawn(change: Change) -> None:
    assert FailureGroup.objects.filter(IS_NEW).exists()
    group = change(acknowledged=True)
    assert (group.is_new, group.acknowledged_by) == (False, "user:eva")
    assert not FailureGroup.objects.filter(IS_NEW).exists()
    assert not change(acknowledged=True).is_new
    assert change(acknowledged=False).acknowledged_by == ""
    assert [details for _, _, details in entries()] == [
        '{"acknowledged":true,"errorCode":"SomeError"}',
        '{"acknowledged":false,"errorCode":"SomeError"}',
    ]


def test_a_group_is_assigned_and_annotated_with_one_entry(owner: Tenant, change: Change) -> None:
    person("ann", owner, Role.ON_CALL)
    group = change(assignee="ann", note="the bank is down")
    assert (group.assignee, group.note, group.is_new) == ("ann", "the bank is down", True)
    change(assignee="ann", note="the bank is down")
    change()
    [(actor, outcome, details)] = entries()
    assert (actor, outcome) == ("user:eva", "granted")
    assert '"assignee":"ann"' in details
    assert (change(assignee="").assignee, len(entries())) == ("", 2)


def test_only_a_person_who_may_operate_is_an_assignee(owner: Tenant, change: Change) -> None:
    person("viewer", owner, Role.VIEWER)
    person("stranger", making.tenant(), Role.TENANT_ADMIN)
    before = rows(FailureGroup)
    for name in ("viewer", "stranger", "nobody"):
        with pytest.raises(AssigneeInvalid):
            change(assignee=name, acknowledged=True)
    assert (rows(FailureGroup), entries()) == (before, [])


def test_a_group_of_another_tenant_is_unknown(owner: Tenant) -> None:
    stranger, group = making.tenant(), FailureGroup.objects.get().pk
    with pytest.raises(FailureGroupUnknown):
        acts.change(stranger, group, actor="user:eva", acknowledged=True)
    with pytest.raises(FailureGroupUnknown):
        queries.group(stranger, group)
    assert FailureGroup.objects.get().is_new
