"""A bounded cache whose entries expire. Pure."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    since: float
    renewing: bool = False


class TimedCache(Generic[K, V]):
    """Values that are valid for `seconds`. Safe to use from many threads.

    `seconds` is a number, or a function that every look-up calls. A cache of `most` entries is emptied before it gets
    another one. Expired entries are kept until then, or until they are replaced.

    With `renew_after` below 1, a value is due for renewal after this fraction of its lifetime. One caller then renews
    it while the others still use it, so that not all of them wait at the same moment.
    """

    def __init__(
        self, *, seconds: float | Callable[[], float], most: float = math.inf, renew_after: float = 1.0
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._renew_after = renew_after
        self._lock = threading.Lock()
        self._entries: dict[K, _Entry[V]] = {}

    def get(self, key: K) -> V | None:
        """Return the value. Return None if the key is unknown, or the value has expired or is due for renewal."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and self._is_valid(entry) else None

    def get_or_renew(self, key: K) -> V | None:
        """Return the value as `get` does. The caller renews it if the result is None.

        The first caller that finds a value due for renewal gets None. Further callers get the value until it expires.
        """
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._is_valid(entry):
            return entry.value
        with self._lock:
            if self._is_valid(entry):  # another caller renews it
                return entry.value
            entry.renewing = True
        return None

    def latest(self, key: K) -> V | None:
        """Return the newest value, even if it has expired; None if the key is unknown."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def set(self, key: K, value: V, *, since: float | None = None) -> None:
        """Store a value. Its lifetime begins now, or at the earlier reading `since` of `time.monotonic`."""
        entry = _Entry(value, time.monotonic() if since is None else since)
        with self._lock:
            if len(self._entries) >= self._most:
                self._entries.clear()
            self._entries[key] = entry

    def discard(self, key: K) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def _is_valid(self, entry: _Entry[V]) -> bool:
        seconds = self._seconds() if callable(self._seconds) else self._seconds
        return time.monotonic() - entry.since < seconds * (1.0 if entry.renewing else self._renew_after)
