from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.models.states import DUE, MOVES, State
from tests.cases import cases
from wire.retry import LONGEST_RETRY_DELAY, RetryPolicy

policies = st.builds(
    RetryPolicy,
    limit=st.integers(0, 200),
    delay=st.floats(0, 10_000).map(lambda seconds: timedelta(seconds=seconds)),
    multiplier=st.floats(0, 1_000),
    cap=st.just(LONGEST_RETRY_DELAY),
    jitter=st.floats(0, 1),
)
THREE_RETRIES = RetryPolicy(limit=3, delay=timedelta(seconds=10), multiplier=2.0, cap=LONGEST_RETRY_DELAY, jitter=0.1)
chances = st.floats(0, 1, exclude_max=True)


def test_only_what_is_due_can_be_claimed() -> None:
    assert {state for state in State if State.RUNNING in MOVES[state]} == DUE == {State.QUEUED, State.WAIT_RETRY}


def never() -> float:
    return 0.0


@cases(
    ("changes", "waits"),
    [
        ({}, [10, 20, 40, None]),
        ({"limit": 0}, [None]),
        ({"multiplier": 0.5}, [10, 10, 10, None]),
        # 10 × 2⁷ s is the last below the cap of 1800 s.
        ({"limit": 100}, [10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800]),
        ({"limit": 10_000, "multiplier": 1e300}, [10, 1800, 1800]),
    ],
)
def test_waits_grow_up_to_thirty_minutes_until_the_limit(changes: dict[str, Any], waits: list[float | None]) -> None:
    policy = replace(THREE_RETRIES, **changes)
    planned = [policy.wait(retry, never) for retry in range(1, len(waits) + 1)]
    assert [wait and wait.total_seconds() for wait in planned] == waits


@given(policies, st.integers(1, 250), chances)
def test_jitter_only_shortens_and_waits_never_get_shorter(policy: RetryPolicy, retry: int, chance: float) -> None:
    full, later = (policy.wait(number, never) for number in (retry, retry + 1))
    shortened = policy.wait(retry, lambda: chance)
    if full is None or shortened is None:
        assert full is shortened is later is None
        assert retry > policy.limit
        return
    assert later is None or full <= later
    assert timedelta() <= shortened <= full <= LONGEST_RETRY_DELAY
    assert shortened >= full * (1 - policy.jitter) - timedelta(microseconds=1)
