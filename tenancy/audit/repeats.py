"""Limits how often equal acts are recorded, and counts those that are not."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable


class Repeats:
    """Lets each key through once in `seconds`. Remembers the `most` keys that were let through last. Thread-safe."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def take(self, key: Hashable) -> int | None:
        """Return None if `key` was let through within the time, else how often that happened since the last time."""
        now = time.monotonic()
        with self._lock:
            since, left_out = self._known.get(key, (-self._seconds, 0))
            if now - since < self._seconds:
                self._known[key] = (since, left_out + 1)
                return None
            self._known[key] = (now, 0)
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)
            return left_out

    def reset(self) -> None:
        """Forget all keys."""
        with self._lock:
            self._known.clear()
