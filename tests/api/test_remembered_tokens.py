"""The token cache compares whole tokens and refreshes each entry before it expires."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions.models import Execution
from tenancy.api import authentication
from tenancy.api.authentication import LAST_USE_PRECISION, remembered
from tenancy.models import ApiToken, Membership
from tenancy.roles import Role, Scope
from tests import making
from tests.api.tenant_api import TenantApi, refused
from tests.clock import Clock
from tests.raw_sql import run

pytestmark = pytest.mark.django_db
SECONDS = 3600
LOOK_UP = '"tenancy_apitoken"."digest" = '


@pytest.fixture(autouse=True)
def clock(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Cache entries do not expire until a test moves the clock."""
    settings.SUBMISSION_CACHE_SECONDS = SECONDS
    return Clock(monkeypatch)


def submit(api: TenantApi, key: str, token: str | None = None, **more: Any) -> Any:
    body = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key}
    return api.post("executions", body, token=token, **more)


def is_remembered(token: str) -> bool:
    return remembered(f"Bearer {token}") is not None


@pytest.fixture
def token(ours: TenantApi) -> str:
    """A token in the cache of this process."""
    made = ours.token(*Scope)
    assert submit(ours, "warm", made).status_code == 202
    assert is_remembered(made)
    return made


def another(text: str, place: int) -> str:
    """Return `text` with a different character at `place`."""
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def test_every_character_of_a_token_counts(ours: TenantApi, token: str, subtests: pytest.Subtests) -> None:
    wrong = [another(token, place) for place in range(len(token))]
    wrong += [token[:length] for length in (8, 15, 25, len(token) - 1)]
    wrong += [token + "0", token + token, token.upper(), token.swapcase(), token[::-1]]
    for number, each in enumerate(wrong):
        with subtests.test(each):
            assert not is_remembered(each)
            refused(submit(ours, f"k{number}", each), 401, "NOT_AUTHENTICATED")
            if number % 8 == 0:
                refused(ours.get("executions", token=each), 401, "NOT_AUTHENTICATED")
    assert Execution.objects.filter(tenant=ours.tenant).count() == 2


def test_a_cached_token_is_valid_as_a_bearer_token_only(ours: TenantApi, token: str) -> None:
    for header in (f"Basic {token}", f"Token {token}", token, f" {token}", f"Bearer{token}"):
        assert remembered(header) is None
        refused(submit(ours, "next", headers={"Authorization": header}), 401, "NOT_AUTHENTICATED")
    assert remembered(f"bearer {token}") is not None


def test_a_cached_token_is_looked_up_again_in_time(ours: TenantApi, clock: Clock) -> None:
    """A role change of the owner takes effect when the entry is refreshed."""
    token = ours.token(*Scope)
    Membership.objects.filter(user=ours.admin).update(role=Role.VIEWER)
    refused(submit(ours, "next", token), 403, "SCOPE_MISSING")
    Membership.objects.filter(user=ours.admin).update(role=Role.OPERATOR)
    refused(submit(ours, "next", token), 403, "SCOPE_MISSING")
    clock.ahead += SECONDS
    assert submit(ours, "next", token).status_code == 202


def test_one_caller_looks_a_token_up_before_the_others_have_to(ours: TenantApi, token: str, clock: Clock) -> None:
    """During the look-up, other callers still use the old entry until it expires."""
    clock.ahead += 0.6 * SECONDS
    assert not is_remembered(token)
    # A failed look-up leaves the entry in the state that it has during a look-up.
    User.objects.filter(pk=ours.admin.pk).update(is_active=False)
    refused(submit(ours, "next", token), 401, "NOT_AUTHENTICATED")
    assert is_remembered(token)
    clock.ahead += 0.5 * SECONDS
    assert not is_remembered(token)


def test_a_token_that_was_looked_up_again_is_cached_again(ours: TenantApi, token: str, clock: Clock) -> None:
    clock.ahead += 0.6 * SECONDS
    with CaptureQueriesContext(connection) as caught:
        assert submit(ours, "one", token).status_code == 202
    assert looked_up(caught) == 1
    with CaptureQueriesContext(connection) as caught:
        assert submit(ours, "two", token).status_code == 202
    assert looked_up(caught) == 0


def test_the_lifetime_of_an_entry_begins_before_the_look_up(ours: TenantApi, clock: Clock) -> None:
    """The token may have been revoked since the database read it."""
    token = ours.token(*Scope)

    def delay(execute: Any, sql: str, *more: Any) -> Any:
        result = execute(sql, *more)
        if LOOK_UP in sql:
            clock.ahead += SECONDS
        return result

    with connection.execute_wrapper(delay):
        assert submit(ours, "slow", token).status_code == 202
    assert not is_remembered(token)


def looked_up(caught: CaptureQueriesContext) -> int:
    return len([each for each in caught if LOOK_UP in str(each["sql"])])


def test_only_submissions_use_cached_tokens(ours: TenantApi, token: str) -> None:
    ApiToken.objects.all().delete()
    for path in ("executions", "pipelines", "executions/{execution_id}"):
        refused(ours.get(path, token=token), 401, "NOT_AUTHENTICATED")
    for path in ("executions/{execution_id}/cancel", "workers/p/w/drain"):
        refused(ours.post(path, {}, token=token), 401, "NOT_AUTHENTICATED")
    refused(submit(ours, "next", token), 401, "NOT_AUTHENTICATED")


@pytest.mark.parametrize("warm", [True, False])
def test_an_expired_token_that_was_used_before_is_rejected(ours: TenantApi, token: str, warm: bool) -> None:
    ApiToken.objects.update(expiry=timezone.now(), last_used_at=timezone.now())
    if not warm:
        authentication.cache.clear()
    refused(ours.get("executions", token=token), 401, "NOT_AUTHENTICATED")
    refused(submit(ours, "next", token), 401, "NOT_AUTHENTICATED")
    assert not Execution.objects.filter(execution_key="next").exists()


def test_what_is_remembered_has_a_bound(ours: TenantApi, token: str) -> None:
    [known] = ApiToken.objects.all()
    tokens = [ours.token(*Scope) for _ in range(3)]
    for number in range(9_997):  # and `token`
        authentication.cache.set(number.to_bytes(32), known)
    for number, token in enumerate(tokens):
        assert submit(ours, f"k{number}", token).status_code == 202
    assert [is_remembered(token) for token in tokens] == [False, False, True]


def test_the_last_use_of_a_token_is_recorded_once_a_minute(ours: TenantApi, token: str) -> None:
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    assert ours.get("executions", token=token).status_code == 200
    assert ApiToken.objects.get().last_used_at == first
    run("UPDATE tenancy_apitoken SET last_used_at = last_used_at - %s", 2 * LAST_USE_PRECISION)
    assert ours.get("executions", token=token).status_code == 200
    assert ApiToken.objects.get().last_used_at >= first
