"""The cache: lifetime and early renewal."""

import pytest

from foundation.timed_cache import TimedCache
from tests.clock import Clock

SECONDS = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_value_expires_after_its_lifetime(clock: Clock) -> None:
    cache: TimedCache[str, int] = TimedCache(seconds=SECONDS)
    assert cache.get("a") is None
    cache.set("a", 1)
    clock.ahead += SECONDS - 1
    assert (cache.get("a"), cache.get_or_renew("a"), cache.get("b")) == (1, 1, None)
    clock.ahead += 1
    assert (cache.get("a"), cache.get_or_renew("a"), cache.latest("a")) == (None, None, 1)
    cache.set("a", 2)
    assert (cache.get("a"), cache.latest("a")) == (2, 2)


def test_a_full_cache_is_emptied() -> None:
    cache: TimedCache[int, int] = TimedCache(seconds=SECONDS, most=2)
    for number in range(3):
        cache.set(number, number)
    assert [cache.get(number) for number in range(3)] == [None, None, 2]


def test_one_caller_renews_while_the_others_still_get_the_value(clock: Clock) -> None:
    cache: TimedCache[str, int] = TimedCache(seconds=SECONDS, renew_after=0.5)
    cache.set("a", 1)
    clock.ahead += 0.4 * SECONDS
    assert (cache.get("a"), cache.get_or_renew("a")) == (1, 1)
    clock.ahead += 0.2 * SECONDS
    assert cache.get("a") is None
    assert [cache.get_or_renew("a") for _ in range(3)] == [None, 1, 1]
    assert cache.get("a") == 1
    clock.ahead += 0.5 * SECONDS
    assert [cache.get_or_renew("a") for _ in range(2)] == [None, None]
    cache.set("a", 2)
    clock.ahead += 0.6 * SECONDS
    assert [cache.get_or_renew("a") for _ in range(2)] == [None, 2], "a renewed value is due for renewal again"
