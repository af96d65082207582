"""Measures how long this worker's transitions take. The coordinator sizes its messages by that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NEWEST_WEIGHT = 0.2
"""The weight of the newest transition in the moving average."""
NOTABLE_FACTOR = 2.0
"""If the average changes by this factor, a heartbeat is sent early."""
QUIET_SECONDS = 0.2
"""The shortest time between two such heartbeats."""


class Pace:
    """The seconds that a transition takes: a moving average, or the time of a running one that already took longer.

    A running transition stops counting once a later one has ended, because it is an exception and may never end. One
    whose lease is lost never counts. Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._average: float | None = None
        self._running: dict[object, tuple[float, Callable[[], bool]]] = {}  # when each began, and whether it is lost
        self._overtaken = 0.0  # running transitions that began before this do not count
        self._last_reported: float | None = None
        self._reported_at = 0.0

    @contextmanager
    def measured(self, is_lost: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
        """Time a transition. Yields a function that returns True, afterwards, if the average has changed notably."""
        began = time.monotonic()
        key = object()
        with self._lock:
            self._running[key] = (began, is_lost)
        try:
            yield self._is_notable
        finally:
            seconds = time.monotonic() - began
            with self._lock:
                del self._running[key]
                if not is_lost():
                    self._overtaken = max(self._overtaken, began)
                    before = seconds if self._average is None else self._average
                    self._average = before + NEWEST_WEIGHT * (seconds - before)

    def report(self) -> float | None:
        """Return the seconds per transition and record that they are reported. None until they are known."""
        now = time.monotonic()
        with self._lock:
            counting = [began for began, is_lost in self._running.values() if began > self._overtaken and not is_lost()]
            oldest = now - min(counting, default=now)
            average = self._average
            seconds = oldest if average is None and oldest > QUIET_SECONDS else average
            if seconds is not None:
                seconds = max(seconds, oldest)
            self._last_reported, self._reported_at = seconds, now
            return seconds

    def _is_notable(self) -> bool:
        with self._lock:
            if self._average is None or time.monotonic() - self._reported_at < QUIET_SECONDS:
                return False
            last = self._last_reported
            return last is None or not last / NOTABLE_FACTOR <= self._average <= last * NOTABLE_FACTOR
