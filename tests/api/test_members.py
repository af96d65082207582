"""REST: members of a tenant and their roles."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from tenancy.models import Membership
from tenancy.roles import GRANTS, Role, Scope
from tests.api.tenant_api import TenantApi, everything, fields, refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def eva() -> User:
    return User.objects.create_user("eva", first_name="Eva", last_name="Example")


def roles(ours: TenantApi, user: User) -> set[str]:
    return set(Membership.objects.filter(tenant=ours.tenant, user=user).values_list("role", flat=True))


def body(role: str = "operator", username: str = "eva") -> dict[str, Any]:
    return {"username": username, "role": role}


def test_roles_are_given_listed_and_taken(ours: TenantApi, eva: User) -> None:
    given = ours.post("members", body())
    expected = {"username": "eva", "name": "Eva Example", "role": "operator", "active": True}
    assert (given.status_code, given.json()) == (201, expected)
    assert ours.post("members", body()).status_code == 200
    assert ours.post("members", body("viewer")).status_code == 201
    listed = ours.get("members").json()["items"]
    assert [(each["username"], each["role"]) for each in listed] == [
        (ours.admin.username, "tenant-admin"),
        ("eva", "operator"),
        ("eva", "viewer"),
    ]
    taken = ours.post("members/remove", body())
    assert (taken.status_code, taken.json(), roles(ours, eva)) == (200, expected, {"viewer"})
    refused(ours.post("members/remove", body()), 404, "MEMBER_UNKNOWN")


def test_a_token_gives_only_roles_that_allow_no_more(ours: TenantApi, eva: User) -> None:
    token = ours.token(Scope.ADMINISTER, *GRANTS[Role.VIEWER])
    assert ours.post("members", body("viewer"), token=token).status_code == 201
    before = everything()
    for role in ("operator", "on-call", "release-manager", "tenant-admin"):
        refused(ours.post("members", body(role), token=token), 403, "SCOPE_MISSING")
    assert everything() == before


def test_unknown_names_are_refused(ours: TenantApi, eva: User) -> None:
    User.objects.create_user("gone", is_active=False)
    assert ours.all_scopes, "create the token first"
    before = everything()
    for name in ("nobody", "gone"):
        refused(ours.post("members", body(username=name)), 422, "USER_UNKNOWN")
    assert fields(refused(ours.post("members", body("king")), 400, "INVALID_REQUEST")).keys() == {"role"}
    assert everything() == before


def test_a_token_ends_with_the_role_that_allows_it(ours: TenantApi) -> None:
    token = ours.token(Scope.ADMINISTER)
    assert ours.post("members/remove", body("tenant-admin", ours.admin.username), token=token).status_code == 200
    assert ours.get("members", token=token).status_code in {401, 403}
