"""How long this worker's transitions take, by which the coordinator decides how much work to send at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NEWEST_COUNTS = 0.2
NEWS = 2.0
"""The coordinator is to hear early of a pace that has changed by this factor."""
QUIET_SECONDS = 0.2


class Pace:
    """A moving average of the transitions that have ended, and the time of one that has run for longer already.

    A running transition does not count once one that began after it has ended: it is an exception, and may never end.
    One whose lease is lost never counts. Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._average: float | None = None
        self._running: dict[object, tuple[float, Callable[[], bool]]] = {}  # when each began, and whether it is lost
        self._overtaken = 0.0  # running transitions that began before this do not count
        self._last_told: float | None = None
        self._told_at = 0.0

    @contextmanager
    def measured(self, is_lost: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
        """Time a transition; what this gives tells afterwards whether the average has become news."""
        began = time.monotonic()
        key = object()
        with self._lock:
            self._running[key] = (began, is_lost)
        try:
            yield self._is_news
        finally:
            took = time.monotonic() - began
            with self._lock:
                del self._running[key]
                if not is_lost():
                    self._overtaken = max(self._overtaken, began)
                    before = took if self._average is None else self._average
                    self._average = before + NEWEST_COUNTS * (took - before)

    def told(self) -> float | None:
        """Seconds for one transition, None before the first has been under way for a while; counts as told."""
        now = time.monotonic()
        with self._lock:
            counting = [began for began, is_lost in self._running.values() if began > self._overtaken and not is_lost()]
            oldest = now - min(counting, default=now)
            average = self._average
            seconds = oldest if average is None and oldest > QUIET_SECONDS else average
            if seconds is not None:
                seconds = max(seconds, oldest)
            self._last_told, self._told_at = seconds, now
            return seconds

    def _is_news(self) -> bool:
        with self._lock:
            if self._average is None or time.monotonic() - self._told_at < QUIET_SECONDS:
                return False
            last = self._last_told
            return last is None or not last / NEWS <= self._average <= last * NEWS
