"""People save views for themselves, and share them with a tenant in which they may operate."""

import pytest
from django.contrib.auth.models import User

from foundation.errors import InvalidRequest, NotFound
from tenancy import saved_views
from tenancy.access import ScopeMissing
from tenancy.models import AuditEntry, Membership, SavedView, Tenant
from tenancy.roles import Role
from tenancy.saved_views import TooManyViews, ViewNameTaken
from tests import making
from tests.cases import cases

pytestmark = pytest.mark.django_db
PAGE = SavedView.Page.EXECUTIONS


@pytest.fixture
def tenant() -> Tenant:
    return making.tenant("owner")


def member(tenant: Tenant, name: str, role: Role) -> User:
    user = User.objects.create_user(name)
    Membership.objects.create(user=user, tenant=tenant, role=role)
    return user


def names(person: User) -> list[str]:
    return [view.name for view in saved_views.views(person, PAGE)]


def test_an_own_view_is_seen_by_its_owner_alone(tenant: Tenant) -> None:
    eva, ann = member(tenant, "eva", Role.VIEWER), member(tenant, "ann", Role.TENANT_ADMIN)
    saved_views.save(eva, PAGE, "mine", "status=live", tenant=None)
    assert (names(eva), names(ann)) == (["mine"], [])
    with pytest.raises(NotFound):
        saved_views.remove(ann, SavedView.objects.get().pk)
    saved_views.remove(eva, SavedView.objects.get().pk)
    assert not SavedView.objects.exists()


def test_a_shared_view_is_seen_by_the_members_of_the_tenant(tenant: Tenant) -> None:
    eva, ann = member(tenant, "eva", Role.OPERATOR), member(tenant, "ann", Role.VIEWER)
    stranger = member(making.tenant("other"), "stranger", Role.TENANT_ADMIN)
    with pytest.raises(ScopeMissing):
        saved_views.save(ann, PAGE, "theirs", "", tenant=tenant)
    with pytest.raises(NotFound):
        saved_views.save(stranger, PAGE, "theirs", "", tenant=tenant)
    view = saved_views.save(eva, PAGE, "ours", "", tenant=tenant)
    assert (names(eva), names(ann), names(stranger)) == (["ours"], ["ours"], [])
    for person, error in ((ann, ScopeMissing), (stranger, NotFound)):
        with pytest.raises(error):
            saved_views.remove(person, view.pk)
    other_operator = member(tenant, "bob", Role.OPERATOR)
    saved_views.remove(other_operator, view.pk)
    assert not SavedView.objects.exists()


def test_a_name_is_used_once_by_a_person_and_once_in_a_tenant(tenant: Tenant) -> None:
    eva, ann = member(tenant, "eva", Role.OPERATOR), member(tenant, "ann", Role.OPERATOR)
    for person, shared in ((eva, None), (ann, None), (eva, tenant)):
        saved_views.save(person, PAGE, "same", "", tenant=shared)
    for person, shared in ((eva, None), (ann, tenant)):
        with pytest.raises(ViewNameTaken):
            saved_views.save(person, PAGE, "same", "", tenant=shared)
    assert SavedView.objects.count() == 3


@cases(("name", "query"), [(" ", ""), ("x" * 61, ""), ("a\u202eb", ""), ("long", "x" * 2001)])
def test_a_view_has_a_readable_name_a_short_query_and_a_limit(tenant: Tenant, name: str, query: str) -> None:
    eva = member(tenant, "eva", Role.VIEWER)
    with pytest.raises(InvalidRequest):
        saved_views.save(eva, PAGE, name, query, tenant=None)
    for number in range(saved_views.MOST):
        SavedView.objects.create(owner=eva, page=PAGE, name=f"{number}", query="")
    with pytest.raises(TooManyViews):
        saved_views.save(eva, PAGE, "one more", "", tenant=None)


def test_saving_and_removing_leave_entries_in_the_audit_log(tenant: Tenant) -> None:
    eva = member(tenant, "eva", Role.OPERATOR)
    for shared in (tenant, None):
        saved_views.remove(eva, saved_views.save(eva, PAGE, "view", "q=secret", tenant=shared).pk)
    entries = AuditEntry.objects.filter(act__startswith="saved_view.").order_by("id")
    assert [(entry.act, entry.actor, entry.object, entry.tenant) for entry in entries] == [
        (act, "user:eva", "view", chain) for chain in (tenant, None) for act in ("saved_view.save", "saved_view.remove")
    ]
    assert "secret" not in "".join(entry.details for entry in entries)
