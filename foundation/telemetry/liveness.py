"""Whether the main loop of a process runs. Probes restart a process whose loop hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LONGEST_SILENCE: Final = 60
"""Seconds without a beat after which a loop counts as hanging, unless another value is configured."""


class Liveness:
    """The main loop calls `beat` every few seconds. While it waits for another server, it is alive without beats.

    So an outage of the broker causes no restarts.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, longest_silence: float = LONGEST_SILENCE
    ) -> None:
        self._clock = clock
        self._longest_silence = longest_silence
        self._lock = threading.Lock()
        self._beaten_at = clock()
        self._waits = 0
        self._stalled: Callable[[], float] = lambda: 0.0

    def beat(self) -> None:
        self._beaten_at = self._clock()

    def watch(self, stalled: Callable[[], float]) -> None:
        """Let `stalled` return the silence of a process without a main loop: the seconds without progress."""
        self._stalled = stalled

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Run a block that may take any time, such as a connection to the broker."""
        self.begin_wait()
        try:
            yield
        finally:
            self.end_wait()

    def begin_wait(self) -> None:
        with self._lock:
            self._waits += 1

    def end_wait(self) -> None:
        with self._lock:
            self._waits -= 1
            self._beaten_at = self._clock()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last beat. While the loop waits, what `watch` was given says; 0 without it."""
        return self._stalled() if self._waits else self._clock() - self._beaten_at

    def is_alive(self) -> bool:
        return self.silent_seconds <= self._longest_silence
