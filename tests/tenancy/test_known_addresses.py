"""A flood of attempts from elsewhere does not lock a user out at addresses where they recently logged in."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenancy.login_throttle import KNOWN_DAYS, Attempt, LoginThrottled
from tenancy.models import LoginCounter

pytestmark = pytest.mark.django_db
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
MOST = 3


@pytest.fixture(autouse=True)
def known_here(settings: Any) -> None:
    """The account has logged in from HERE. Only the limit per account applies."""
    settings.LOGIN_ATTEMPTS = settings.LOGIN_ATTEMPTS_PER_ADDRESS = 1000
    settings.LOGIN_ATTEMPTS_PER_ACCOUNT = MOST
    log_in("ada", HERE)


def log_in(account: str, address: str) -> None:
    attempt = Attempt(account, address)
    attempt.count()
    attempt.uncount()


def fail(account: str, address: str) -> None:
    Attempt(account, address).count()


def flood() -> None:
    for _ in range(MOST):
        fail("ada", ELSEWHERE)


def test_an_address_is_known_to_one_account() -> None:
    for _ in range(MOST):
        fail("bob", ELSEWHERE)
    with pytest.raises(LoginThrottled):
        fail("bob", HERE)


def test_an_address_is_known_for_a_limited_time() -> None:
    flood()
    with pytest.raises(LoginThrottled):
        fail("ada", "192.0.2.10")
    fail("ada", HERE)
    [until] = LoginCounter.objects.exclude(known_until=None).values_list("known_until", flat=True)
    assert until is not None
    assert timedelta() < until - timezone.now() <= timedelta(days=KNOWN_DAYS)
    LoginCounter.objects.exclude(known_until=None).update(known_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(LoginThrottled):
        fail("ada", HERE)


def test_an_address_stays_known_after_the_window_of_its_counter() -> None:
    LoginCounter.objects.update(ends_at=timezone.now() - timedelta(seconds=1))
    fail("bob", ELSEWHERE)  # this removes counters
    flood()
    fail("ada", HERE)
