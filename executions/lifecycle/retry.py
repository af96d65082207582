"""Decides when a failed transition runs again (wire protocol E.5). Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Up to `limit` retries follow the first run. The wait grows from `delay` by `multiplier`, up to `cap`.

    `jitter` is the largest fraction that is subtracted from a wait at random, so that executions which failed together
    do not all retry at the same moment. No wait is longer than the policy says.
    """

    limit: int
    delay: timedelta
    multiplier: float
    cap: timedelta
    jitter: float

    def wait(self, retry: int, chance: Callable[[], float]) -> timedelta | None:
        """Return the wait before the given retry, of which the first is 1; None if no retry is left.

        `chance` returns a number in [0, 1).
        """
        if retry > self.limit:
            return None
        try:
            grown = self.delay.total_seconds() * max(1.0, self.multiplier) ** (retry - 1)
        except OverflowError:
            grown = self.cap.total_seconds()
        seconds = min(grown, self.cap.total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * chance()))
