"""How fast this machine is at the moment, so that a budget of CPU time means the same on each machine."""

import hashlib
import statistics
import threading
import time
from typing import Self

USUAL_SECONDS = 0.03
"""The CPU time of the reference work on a machine with two quiet cores."""
INTERVAL_SECONDS = 5
_TEXTS = [hashlib.sha256(number.to_bytes(4)).digest() for number in range(100_000)]


class Pace:
    """Measures the reference work again and again while the block runs.

    The same instructions take more CPU time on a slow machine, and on cores that other machines share.
    """

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def slowness(self) -> float:
        """How many times the usual CPU time the reference work takes here, on average. Never below 1."""
        return max(1.0, statistics.fmean(self._seconds) / USUAL_SECONDS)

    def _measure(self) -> None:
        while True:
            began = time.thread_time()
            _reference_work()
            self._seconds.append(time.thread_time() - began)
            if self._stop.wait(INTERVAL_SECONDS):
                return


def _reference_work() -> None:
    """Sort more text than the caches of a core hold. The code is C, and much the same in all versions of Python."""
    sorted(_TEXTS)
