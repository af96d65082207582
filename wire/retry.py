"""Decides when a failed transition runs again or a message is sent again. Nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

LONGEST_RETRY_DELAY: Final = timedelta(minutes=30)
"""The longest wait before a retry."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `limit` retries follow the first attempt; the waits grow by `multiplier` from `delay` up to `cap`.

    Each wait is shortened at random by at most the fraction `jitter`, so that executions which failed together do not
    all retry together. No wait is lengthened. With `repeat_unknown`, a transition whose outcome is unknown is retried
    too (ADR 74).
    """

    limit: int
    delay: timedelta
    multiplier: float
    cap: timedelta
    jitter: float
    repeat_unknown: bool = False

    def wait(self, retry: int, chance: Callable[[], float]) -> timedelta | None:
        """Return the time to wait before the `retry`-th retry (from 1); None if no retry is left.

        `chance` returns a random number in [0, 1).
        """
        if retry > self.limit:
            return None
        try:
            unlimited = self.delay.total_seconds() * max(1.0, self.multiplier) ** (retry - 1)
        except OverflowError:
            unlimited = self.cap.total_seconds()
        seconds = min(unlimited, self.cap.total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * chance()))
