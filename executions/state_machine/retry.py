"""When a failed transition runs again: the only place that knows (wire protocol E.5)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

LONGEST_DELAY = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`limit` retries follow the first run; waits grow by `multiplier` from `delay` up to `cap`.

    `jitter` is the share of a wait that chance may take off, so that executions which failed together do not all
    come back together. It only shortens: no wait is longer than the policy says.
    """

    limit: int = 3
    delay: timedelta = timedelta(seconds=10)
    multiplier: float = 2.0
    cap: timedelta = LONGEST_DELAY
    jitter: float = 0.1

    def wait(self, retry: int, chance: Callable[[], float]) -> timedelta | None:
        """The time to wait before the `retry`-th retry (from 1), or None when the budget is spent.

        `chance` gives a number in [0, 1).
        """
        if retry > self.limit:
            return None
        try:
            grown = self.delay.total_seconds() * max(1.0, self.multiplier) ** (retry - 1)
        except OverflowError:
            grown = self.cap.total_seconds()
        seconds = min(grown, self.cap.total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * chance()))
