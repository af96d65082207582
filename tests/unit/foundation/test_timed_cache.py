"""The cache: lifetime, early renewal, and size."""

import threading

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


def test_a_lifetime_is_read_at_each_look_up_and_may_begin_earlier(clock: Clock) -> None:
    lifetimes = [10.0, 10.0, 0.0]
    cache: TimedCache[str, int] = TimedCache(seconds=lambda: lifetimes.pop(0))
    cache.set("a", 1)
    assert [cache.get("a"), cache.get_or_renew("a"), cache.get("a")] == [1, 1, None]
    cache = TimedCache(seconds=SECONDS)
    began = clock.monotonic()
    clock.ahead += SECONDS / 2
    cache.set("a", 1, since=began)
    assert cache.get("a") == 1
    clock.ahead += SECONDS / 2
    assert cache.get("a") is None


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


def test_only_one_of_many_threads_renews(clock: Clock) -> None:
    cache: TimedCache[int, int] = TimedCache(seconds=SECONDS, renew_after=0.5)
    keys, results = range(200), []
    for key in keys:
        cache.set(key, 1)
    clock.ahead += 0.6 * SECONDS
    start = threading.Barrier(4)

    def look_up() -> None:
        start.wait(10)
        results.append([cache.get_or_renew(key) for key in keys])

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [sum(result is None for result in each) for each in zip(*results, strict=True)] == [1] * len(keys)


def test_a_full_cache_is_emptied() -> None:
    cache: TimedCache[str, int] = TimedCache(seconds=SECONDS, most=2)
    for key in ("a", "b", "c"):
        cache.set(key, 1)
    assert [cache.get(key) for key in ("a", "b", "c")] == [None, None, 1]


def test_values_are_removed_and_none_is_one_that_is_looked_up_again() -> None:
    cache: TimedCache[str, int | None] = TimedCache(seconds=SECONDS)
    for key in ("a", "b", "c"):
        cache.set(key, 1)
    cache.discard("a")
    cache.discard("a")
    assert [cache.latest(key) for key in ("a", "b", "c")] == [None, 1, 1]
    cache.clear()
    assert [cache.latest(key) for key in ("b", "c")] == [None, None]
    cache.set("a", None)
    assert cache.get("a") is None
