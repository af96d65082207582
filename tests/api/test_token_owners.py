"""A token never grants more than its owner's current scopes, and ends with its owner's account and membership."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions.models import Execution
from tenancy.api import authentication
from tenancy.models import ApiToken, Membership
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.tenant_api import TenantApi, refused

pytestmark = pytest.mark.django_db


def submission(api: TenantApi, key: str, token: str) -> Any:
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key}
    return api.post("executions", body, token=token)


def demote(owner: User, role: Role) -> None:
    Membership.objects.filter(user=owner).update(role=role)


def remove(owner: User) -> None:
    Membership.objects.filter(user=owner).delete()


def deactivate(owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_active=False)


def change_password(owner: User) -> None:
    owner.set_password("another-horse-battery-staple")
    owner.save()


@pytest.mark.parametrize("role", list(Role))
def test_a_token_grants_what_its_owners_current_role_grants(ours: TenantApi, role: Role) -> None:
    token = ours.token(*Scope)
    demote(ours.admin, role)
    assert (ours.get("executions", token=token).status_code, submission(ours, role.value, token).status_code) == (
        200,
        202 if Scope.SUBMIT in GRANTS[role] else 403,
    )


def test_an_error_names_the_demoted_owner_as_the_reason(ours: TenantApi) -> None:
    token = ours.token(Scope.READ, Scope.SUBMIT)
    demote(ours.admin, Role.VIEWER)
    document = refused(submission(ours, "key", token), 403, "SCOPE_MISSING")
    assert document["scope"] == "executions:submit"
    assert "owner" in document["detail"]


def test_a_promoted_owner_adds_nothing_to_a_token(ours: TenantApi) -> None:
    reads = ours.token(Scope.READ)
    User.objects.filter(pk=ours.admin.pk).update(is_superuser=True)
    refused(submission(ours, "key", reads), 403, "SCOPE_MISSING")


@pytest.mark.parametrize("end", [remove, deactivate, change_password])
def test_a_token_ends_with_its_owners_membership_account_or_password(
    ours: TenantApi, end: Callable[[User], None]
) -> None:
    token = ours.token(*Scope)
    assert ours.get("executions", token=token).status_code == 200
    end(ours.admin)
    refused(ours.get("executions", token=token), 401, "NOT_AUTHENTICATED")
    refused(submission(ours, "key", token), 401, "NOT_AUTHENTICATED")
    assert not Execution.objects.filter(execution_key="key").exists()


def test_a_role_in_another_tenant_gives_a_token_nothing(ours: TenantApi, theirs: TenantApi) -> None:
    token = ours.token(*Scope)
    Membership.objects.filter(user=ours.admin).update(tenant=theirs.tenant)
    refused(ours.get("executions", token=token), 401, "NOT_AUTHENTICATED")
    refused(theirs.get("executions", token=token), 401, "NOT_AUTHENTICATED")


def test_a_superusers_token_needs_no_membership_and_ends_when_the_owner_is_no_longer_a_superuser(
    ours: TenantApi,
) -> None:
    token = ours.token(*Scope)
    Membership.objects.filter(user=ours.admin).delete()
    User.objects.filter(pk=ours.admin.pk).update(is_superuser=True)
    assert submission(ours, "root", token).status_code == 202
    User.objects.filter(pk=ours.admin.pk).update(is_superuser=False)
    refused(ours.get("executions", token=token), 401, "NOT_AUTHENTICATED")


@pytest.mark.parametrize(
    ("end", "status"),
    [(remove, 401), (deactivate, 401), (change_password, 401), (lambda owner: demote(owner, Role.VIEWER), 403)],
)
@pytest.mark.parametrize("batch", [False, True])
def test_a_cached_token_ends_at_once(
    ours: TenantApi, end: Callable[[User], None], status: int, batch: bool, settings: Any
) -> None:
    """The process has the token in its cache and does not look it up. The statement that inserts the execution does."""
    settings.SUBMISSION_CACHE_SECONDS = 60
    token = ours.token(*Scope)
    assert submission(ours, "warm", token).status_code == 202
    end(ours.admin)
    item = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "second"}
    if batch:
        response = ours.post("executions:batch", {"items": [item]}, token=token)
        assert [each["status"] for each in response.json()["items"]] == [status]
    else:
        assert submission(ours, "second", token).status_code == status
    assert not Execution.objects.filter(execution_key="second").exists()


def test_authentication_costs_one_statement(ours: TenantApi) -> None:
    token = ours.token(*Scope)
    assert ours.get("executions", token=token).status_code == 200
    authentication.cache.clear()
    with CaptureQueriesContext(connection) as caught:
        ours.get("executions", token=token)
    assert len([query for query in caught if "auth_user" in str(query["sql"])]) == 1
    assert [query for query in caught if str(query["sql"]).startswith("SELECT") and "membership" in str(query["sql"])]


def test_a_rehash_of_the_same_password_ends_no_tokens(ours: TenantApi) -> None:
    """Django stores a new hash at a log-in if its hasher has become stronger."""
    ours.admin.set_password("correct-horse-battery-staple")
    ours.admin.save()
    token = ours.token(*Scope)
    outdated = make_password("correct-horse-battery-staple", hasher="pbkdf2_sha1")
    User.objects.filter(pk=ours.admin.pk).update(password=outdated)
    assert User.objects.get(pk=ours.admin.pk).check_password("correct-horse-battery-staple")
    assert User.objects.get(pk=ours.admin.pk).password != outdated
    assert ours.get("executions", token=token).status_code == 200


def test_ended_tokens_are_kept_for_review(ours: TenantApi) -> None:
    ours.token(*Scope)
    change_password(ours.admin)
    assert [token.expiry <= timezone.now() for token in ApiToken.objects.filter(user=ours.admin)] == [True]


def test_a_password_change_ends_no_other_persons_tokens(ours: TenantApi, theirs: TenantApi) -> None:
    change_password(ours.admin)
    assert theirs.get("executions").status_code == 200
