"""A token never grants more than its owner's current scopes. The cache of tokens compares whole tokens, for a time."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from executions.models import Execution
from tenancy.api import authentication
from tenancy.api.authentication import remembered
from tenancy.models import ApiToken, Membership
from tenancy.roles import GRANTS, Role, Scope
from tests import making
from tests.api.tenant_api import TenantApi, refused, unchanged
from tests.cases import cases
from tests.clock import Clock

SECONDS = 3600
LOOK_UP = '"tenancy_apitoken"."digest" = '
ITEM = {"pipelineId": making.PIPELINE, "input": {"n": 1}}
End = Callable[[User], object]


@pytest.fixture(autouse=True)
def clock(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Cache entries do not expire until a test moves the clock."""
    settings.SUBMISSION_CACHE_SECONDS = SECONDS
    return Clock(monkeypatch)


@pytest.fixture
def token(ours: TenantApi) -> str:
    assert submit(ours, "warm", ours.all_scopes).status_code == 202
    assert is_remembered(ours.all_scopes)
    return ours.all_scopes


def submit(api: TenantApi, key: str, token: str | None = None, **more: Any) -> Any:
    return api.post("executions", {**ITEM, "idempotencyKey": key}, token=token, **more)


def is_remembered(token: str) -> bool:
    return remembered(f"Bearer {token}") is not None


def demote(owner: User, role: Role = Role.VIEWER) -> None:
    Membership.objects.filter(user=owner).update(role=role)


def deactivate(owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_active=False)


def change_password(owner: User) -> None:
    owner.set_password("another-horse-battery-staple")
    owner.save()


@cases("authorization", ["", "Bearer", "Bearer nonsense", "Bearer dc_" + "0" * 64, "Basic YTpi", "Bearer é"])
def test_an_invalid_token_is_rejected(ours: TenantApi, authorization: str) -> None:
    with unchanged():
        for method in ("GET", "POST"):
            response: Any = ours.call(method, ours.url("executions"), headers={"Authorization": authorization})
            refused(response, 401, "NOT_AUTHENTICATED")
            assert response.headers["WWW-Authenticate"] == "Bearer"


@cases("role", list(Role))
def test_a_token_grants_what_its_owners_current_role_grants(ours: TenantApi, role: Role) -> None:
    demote(ours.admin, role)
    assert ours.get("executions").status_code == 200
    response = submit(ours, "key")
    if Scope.SUBMIT in GRANTS[role]:
        assert response.status_code == 202
    else:
        document = refused(response, 403, "SCOPE_MISSING")
        assert (document["scope"], "owner" in document["detail"]) == ("executions:submit", True)


@cases(
    ("end", "status"),
    (lambda owner: Membership.objects.filter(user=owner).delete(), 401),
    (lambda owner: Membership.objects.filter(user=owner).update(tenant=making.tenant()), 401),
    (deactivate, 401),
    (change_password, 401),
    (demote, 403),
    (lambda owner: ApiToken.objects.filter(user=owner).update(expiry=timezone.now()), 401),
    (lambda owner: ApiToken.objects.filter(user=owner).update(scopes=["read"]), 403),
    (lambda owner: ApiToken.objects.filter(user=owner).delete(), 401),
)
def test_a_cached_token_ends_at_once(ours: TenantApi, end: End, status: int) -> None:
    """The process has the token in its cache and does not look it up. The statement that inserts the execution does."""
    assert submit(ours, "warm").status_code == 202
    end(ours.admin)
    assert is_remembered(ours.all_scopes)
    response = ours.post("executions:batch", {"items": [{**ITEM, "idempotencyKey": "second"}]})
    assert [item["status"] for item in response.json()["items"]] == [status]
    assert submit(ours, "second").status_code == status
    assert ours.get("executions").status_code == (200 if status == 403 else 401)
    authentication.cache.clear()
    assert submit(ours, "second").status_code == status
    assert not Execution.objects.filter(execution_key="second").exists()


def test_only_a_new_password_ends_the_tokens_of_only_its_user(ours: TenantApi, theirs: TenantApi) -> None:
    """Django stores a new hash of the same password at a log-in if its hasher has become stronger."""
    ours.admin.set_password("correct-horse-battery-staple")
    ours.admin.save()
    token = ours.token(*Scope)
    outdated = make_password("correct-horse-battery-staple", hasher="pbkdf2_sha1")
    User.objects.filter(pk=ours.admin.pk).update(password=outdated)
    assert User.objects.get(pk=ours.admin.pk).check_password("correct-horse-battery-staple")
    assert User.objects.get(pk=ours.admin.pk).password != outdated
    assert ours.get("executions", token=token).status_code == 200
    change_password(ours.admin)
    assert {token.expiry <= timezone.now() for token in ApiToken.objects.filter(user=ours.admin)} == {True}, "kept"
    assert theirs.get("executions").status_code == 200


def another(text: str, place: int) -> str:
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def test_every_character_of_a_token_counts(ours: TenantApi, token: str) -> None:
    wrong = [another(token, place) for place in range(len(token))]
    wrong += [token[:length] for length in (8, 15, 25, len(token) - 1)]
    wrong += [token + "0", token + token, token.upper(), token.swapcase(), token[::-1]]
    for number, guess in enumerate(wrong):
        assert not is_remembered(guess), guess
        refused(submit(ours, f"k{number}", guess), 401, "NOT_AUTHENTICATED")
        if number % 8 == 0:
            refused(ours.get("executions", token=guess), 401, "NOT_AUTHENTICATED")
    assert Execution.objects.filter(tenant=ours.tenant).count() == 2


def test_a_cached_token_is_valid_as_a_bearer_token_only(ours: TenantApi, token: str) -> None:
    for header in (f"Basic {token}", f"Token {token}", token, f" {token}", f"Bearer{token}"):
        assert remembered(header) is None
        refused(submit(ours, "next", headers={"Authorization": header}), 401, "NOT_AUTHENTICATED")
    assert remembered(f"bearer {token}") is not None


def test_a_cached_token_is_looked_up_again_in_time(ours: TenantApi, clock: Clock) -> None:
    """A role change of the owner takes effect when the entry is refreshed."""
    demote(ours.admin)
    refused(submit(ours, "next"), 403, "SCOPE_MISSING")
    demote(ours.admin, Role.OPERATOR)
    refused(submit(ours, "next"), 403, "SCOPE_MISSING")
    clock.ahead += SECONDS
    assert submit(ours, "next").status_code == 202


def test_one_caller_looks_a_token_up_before_the_others_have_to(ours: TenantApi, token: str, clock: Clock) -> None:
    """During the look-up, other callers still use the old entry until it expires."""
    clock.ahead += 0.6 * SECONDS
    assert not is_remembered(token)
    # A failed look-up leaves the entry in the state that it has during a look-up.
    deactivate(ours.admin)
    refused(submit(ours, "next", token), 401, "NOT_AUTHENTICATED")
    assert is_remembered(token)
    clock.ahead += 0.5 * SECONDS
    assert not is_remembered(token)


def test_the_lifetime_of_an_entry_begins_before_the_look_up(ours: TenantApi, clock: Clock) -> None:
    """The token may have been revoked since the database read it."""

    def delay(execute: Any, sql: str, *more: Any) -> Any:
        result = execute(sql, *more)
        if LOOK_UP in sql:
            clock.ahead += SECONDS
        return result

    with connection.execute_wrapper(delay):
        assert submit(ours, "slow").status_code == 202
    assert not is_remembered(ours.all_scopes)


@cases("warm", [True, False])
def test_an_expired_token_that_was_used_before_is_rejected(ours: TenantApi, token: str, warm: bool) -> None:
    ApiToken.objects.update(expiry=timezone.now(), last_used_at=timezone.now())
    if not warm:
        authentication.cache.clear()
    with unchanged():  # the token is kept
        assert "expired" in refused(ours.get("executions", token=token), 401, "NOT_AUTHENTICATED")["detail"]
        refused(submit(ours, "next", token), 401, "NOT_AUTHENTICATED")
