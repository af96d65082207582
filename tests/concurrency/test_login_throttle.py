"""Concurrent log-ins cannot try more passwords than consecutive ones."""

import pytest
from django.conf import settings

from tenancy.login_throttle import Attempt
from tests.concurrency.racing import parted, race

pytestmark = pytest.mark.usefixtures("committed")


def test_concurrent_attempts_are_all_counted() -> None:
    counted, refused = parted(race(*[Attempt("ada", "192.0.2.1").count for _ in range(12)]))
    assert len(counted) == settings.LOGIN_ATTEMPTS
    assert refused == ["LoginThrottled"] * (12 - settings.LOGIN_ATTEMPTS)
