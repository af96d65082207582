"""People save views for themselves, and share them with a tenant in which they may operate."""

import pytest
from django.contrib.auth.models import User

from foundation.errors import NotFound
from tenancy import saved_views
from tenancy.access import ScopeMissing
from tenancy.models import Membership, SavedView, Tenant
from tenancy.roles import Role
from tests import making

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
