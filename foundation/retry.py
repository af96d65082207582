"""The pauses of a request that waits for something that another process does."""

import time
from collections.abc import Iterator

FIRST_SECONDS = 0.05
LONGEST_SECONDS = 1.0
GROWTH = 1.5


def pauses_until(deadline: float) -> Iterator[float]:
    """Yield growing pauses in seconds. The last one ends at `deadline`, a time of the monotonic clock."""
    seconds = FIRST_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        yield min(seconds, left)
        seconds = min(seconds * GROWTH, LONGEST_SECONDS)
