"""Schedules work in turns, so that each tenant gets a fair share (ADR 33).

The next row is chosen from the due rows and not by the order of messages. A tenant with a hundred due rows gets its
next turn only after every other tenant with due rows has had one.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection


@dataclass
class Turns:
    """Turns for one kind of work in this process, on at most `most` rows at once.

    `statement` claims the oldest due row of the tenant whose last turn is longest ago, except for tenants in `full`.
    It returns the row's id, the tenant's id, and False if another process claimed the row first. If `most` is at least
    2, one tenant gets at most `most - 1` places, so that other tenants never wait for all of them.
    """

    statement: str
    parameters: Mapping[str, Any]
    most: int = 2
    _running: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(self) -> Iterator[Any]:
        """Claim the next row and yield its id. Yield None if no row is due or every place is taken."""
        with self._lock:
            row = self._claim() if self._running.total() < self.most else None
            if row is not None:
                self._running[row[1]] += 1
        try:
            yield row and row[0]
        finally:
            if row is not None:
                with self._lock:
                    self._running[row[1]] -= 1

    def _claim(self) -> tuple[Any, int] | None:
        full = [tenant for tenant, running in self._running.items() if running >= max(self.most - 1, 1)]
        while True:
            with connection.cursor() as cursor:
                cursor.execute(self.statement, {**self.parameters, "full": full})
                row: tuple[Any, int, bool] | None = cursor.fetchone()
            if row is None or row[2]:
                return row and row[:2]
