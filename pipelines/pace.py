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
    """A moving average, of transitions that are over and those that have run for longer already. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._average: float | None = None
        self._running: dict[int, float] = {}
        self._last_told: float | None = None
        self._told_at = 0.0

    @contextmanager
    def measured(self) -> Iterator[Callable[[], bool]]:
        """Time a transition; what this gives tells afterwards whether the average has become news."""
        began = time.monotonic()
        key = threading.get_ident()
        with self._lock:
            self._running[key] = began
        try:
            yield self._is_news
        finally:
            took = time.monotonic() - began
            with self._lock:
                self._running.pop(key, None)
                before = took if self._average is None else self._average
                self._average = before + NEWEST_COUNTS * (took - before)

    def told(self) -> float | None:
        """Seconds for one transition, None before the first has been under way for a while; counts as told."""
        now = time.monotonic()
        with self._lock:
            oldest = now - min(self._running.values(), default=now)
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
