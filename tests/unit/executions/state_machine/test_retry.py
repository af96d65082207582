"""When a failed transition runs again (wire protocol E.5)."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.state_machine.retry import RetryPolicy
from releases.activation.policy import LONGEST_RETRY_DELAY
from tests.cases import cases

policies = st.builds(
    RetryPolicy,
    limit=st.integers(0, 200),
    delay=st.floats(0, 10_000).map(lambda seconds: timedelta(seconds=seconds)),
    multiplier=st.floats(0, 1_000),
    cap=st.just(LONGEST_RETRY_DELAY),
    jitter=st.floats(0, 1),
)
chances = st.floats(0, 1, exclude_max=True)


def never() -> float:
    return 0.0


def policy_of(**changes: Any) -> RetryPolicy:
    """Three retries after 10, 20 and 40 seconds, with changes."""
    defaults = {
        "limit": 3,
        "delay": timedelta(seconds=10),
        "multiplier": 2.0,
        "cap": LONGEST_RETRY_DELAY,
        "jitter": 0.1,
    }
    return RetryPolicy(**{**defaults, **changes})


def seconds(policy: RetryPolicy, retry: int) -> float | None:
    wait = policy.wait(retry, never)
    return None if wait is None else wait.total_seconds()


def test_waits_grow_until_the_limit() -> None:
    assert [seconds(policy_of(), retry) for retry in (1, 2, 3, 4)] == [10, 20, 40, None]


@cases(("limit", "runs"), [(0, 1), (1, 2), (3, 4)])
def test_the_limit_counts_retries_and_not_runs(limit: int, runs: int) -> None:
    policy = policy_of(limit=limit)
    granted = [retry for retry in range(1, 10) if policy.wait(retry, never) is not None]
    assert 1 + len(granted) == runs


def test_no_wait_is_longer_than_thirty_minutes() -> None:
    policy = policy_of(limit=100, delay=timedelta(seconds=10), multiplier=2)
    # 10 × 2⁷ s is the last below the cap of 1800 s.
    assert [seconds(policy, retry) for retry in (8, 9, 10, 100)] == [1280, 1800, 1800, 1800]


def test_a_growth_beyond_what_a_float_holds_is_the_cap() -> None:
    policy = policy_of(limit=10_000, multiplier=1_000)
    assert policy.wait(9_999, never) == LONGEST_RETRY_DELAY


@cases("multiplier", [1.0, 0.5, 0.0, -3.0])
def test_a_multiplier_below_one_does_not_shorten_waits(multiplier: float) -> None:
    policy = policy_of(limit=3, delay=timedelta(seconds=7), multiplier=multiplier)
    assert [seconds(policy, retry) for retry in (1, 2, 3)] == [7, 7, 7]


def test_jitter_takes_off_at_most_its_share() -> None:
    policy = policy_of(delay=timedelta(seconds=100), jitter=0.25)
    assert policy.wait(1, lambda: 0.0) == timedelta(seconds=100)
    assert policy.wait(1, lambda: 1.0) == timedelta(seconds=75)


@given(policies, st.integers(1, 250), chances)
def test_jitter_only_shortens_and_never_below_its_share(policy: RetryPolicy, retry: int, chance: float) -> None:
    full, shortened = policy.wait(retry, never), policy.wait(retry, lambda: chance)
    if full is None or shortened is None:
        assert full is shortened is None
        assert retry > policy.limit
        return
    tolerance = timedelta(microseconds=1)
    assert timedelta() <= shortened <= full <= LONGEST_RETRY_DELAY
    assert shortened >= full * (1 - policy.jitter) - tolerance


@given(policies, st.integers(1, 199))
def test_waits_never_get_shorter_from_retry_to_retry(policy: RetryPolicy, retry: int) -> None:
    earlier, later = policy.wait(retry, never), policy.wait(retry + 1, never)
    if earlier is not None and later is not None:
        assert earlier <= later
    if earlier is None:
        assert later is None
