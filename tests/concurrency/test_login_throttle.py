"""Concurrent log-ins cannot try more passwords than consecutive ones."""

from functools import partial

import pytest
from django.conf import settings

from tenancy.login_throttle import Attempt
from tenancy.models import LoginCounter
from tests.concurrency.racing import parted, race

pytestmark = pytest.mark.usefixtures("committed")


def test_concurrent_attempts_are_all_counted() -> None:
    counted, refused = parted(race(*[Attempt("ada", "192.0.2.1").count for _ in range(12)]))
    assert len(counted) == settings.LOGIN_ATTEMPTS
    assert refused == ["LoginThrottled"] * (12 - settings.LOGIN_ATTEMPTS)


def test_attempts_of_several_accounts_and_addresses_do_not_deadlock() -> None:
    def log_in(account: str, address: str) -> None:
        attempt = Attempt(account, address)
        attempt.count()
        attempt.uncount()

    calls = [partial(log_in, account, address) for account in "abc" for address in "123"]
    for _ in range(5):
        assert race(*calls) == [None] * 9
    assert {counter.attempts for counter in LoginCounter.objects.all()} == {0}
