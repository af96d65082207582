"""Places limit how many slow tasks a control worker runs at once, so that other tasks always find a thread (ADR 18).

A task that finds no place does not wait in its thread: it returns, and its message is sent again later. `Turns` gives
each tenant a fair share of places (ADR 33). The next row is chosen from the due rows and not by the order of messages:
a tenant with a hundred due rows gets its next turn only after every other tenant with due rows has had one.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection

Row = TypeVar("Row")
UNLIMITED = 1_000_000
SHORT_QUEUES = frozenset({"control", "outcomes", "heartbeats"})
SLOW_QUEUES = frozenset({"artifacts", "rest", "webhooks"})
LEAST_THREADS = 6
"""With fewer threads, a control worker for short and for slow tasks cannot keep places for several tenants."""


def _nothing() -> None:
    return


class Places:
    """Places for one kind of task in this process, at most `most` at once. Each is also one of `within`.

    If there are several, one tenant holds at most all but one.
    """

    def __init__(self, most: int = UNLIMITED, *, within: "Places | None" = None) -> None:
        self.most = most
        self._levels: list[Places] = [self, *(within._levels if within else [])]
        self._lock: threading.Lock = within._lock if within else threading.Lock()
        self._held: Counter[int | None] = Counter()

    @contextmanager
    def take(
        self,
        choose: Callable[[list[int]], tuple[Row, int | None] | None],
        *,
        crowded: Callable[[], object] = _nothing,
    ) -> Iterator[Row | None]:
        """Hold a place for the row that `choose` returns, and yield the row.

        `choose` gets the tenants that hold all the places they may, and returns a row with the id of its tenant. Yield
        None if there is no row, and first call `crowded` if there may be one without a place.
        """
        with self._lock:
            full = self._full()
            chosen = None if full is None else choose(full)
            if chosen is not None:
                self._add(chosen[1], 1)
        if chosen is None:
            if full != []:
                crowded()
            yield None
            return
        try:
            yield chosen[0]
        finally:
            with self._lock:
                self._add(chosen[1], -1)

    @contextmanager
    def hold(self, tenant: int | None = None, *, crowded: Callable[[], object] = _nothing) -> Iterator[bool]:
        """Hold a place for the tenant, or for work of no tenant. Without one, call `crowded` and yield False."""
        with self.take(lambda full: None if tenant in full else (True, tenant), crowded=crowded) as taken:
            yield taken is not None

    def _full(self) -> list[int] | None:
        """Return the tenants that may hold no further place; None if no place is free."""
        if any(level._held.total() >= level.most for level in self._levels):
            return None
        return [tenant for level in self._levels for tenant in level._tenants_with_their_share()]

    def _tenants_with_their_share(self) -> list[int]:
        share = max(self.most - 1, 1)
        return [tenant for tenant, held in self._held.items() if tenant is not None and held >= share]

    def _add(self, tenant: int | None, count: int) -> None:
        for level in self._levels:
            level._held[tenant] += count


CHECKS = Places()
"""Checks of REST workers have separate places, because submissions are rejected without the results of checks."""
REPEATED_CHECKS = Places(within=CHECKS)
"""For workers that did not answer the last check. They leave a place for all others."""
SLOW = Places()
ARTIFACTS = Places(within=SLOW)
RELEASES = Places(within=ARTIFACTS)
UPLOADS = Places(within=ARTIFACTS)
CALLS = Places(within=SLOW)
WEBHOOKS = Places(within=SLOW)


def allot(threads: int, queues: Collection[str]) -> None:
    """Divide the threads of a control worker that serves `queues`.

    If it serves short tasks too, at least a quarter of its threads, and no fewer than two, are left for these. Raises
    `ValueError` if it has too few threads for that.
    """
    short, slow = SHORT_QUEUES & set(queues), SLOW_QUEUES & set(queues)
    if "control" in short or (short and slow):
        if threads < LEAST_THREADS:
            raise ValueError(
                f"A control worker for the queues {', '.join(sorted(queues))} needs at least {LEAST_THREADS} threads"
                f" and has {threads}: see --concurrency."
            )
        threads -= max(math.ceil(threads / 4), 2)
    CHECKS.most = max(threads // 4, 2)
    REPEATED_CHECKS.most = CHECKS.most - 1
    SLOW.most = threads - CHECKS.most if "control" in short else threads
    for kind in (ARTIFACTS, CALLS, WEBHOOKS):
        kind.most = SLOW.most if len(slow) == 1 else max(SLOW.most - 1, min(SLOW.most, 2))
    RELEASES.most = max(min(settings.VERIFICATION_PROCESSES, ARTIFACTS.most - 1), 1)
    UPLOADS.most = max(ARTIFACTS.most - RELEASES.most, 1)


@dataclass
class Turns:
    """Turns for one kind of work in this process, each in one of `places`.

    `statement` claims the oldest due row of the tenant whose last turn is longest ago, except for tenants in `full`.
    It returns the row's id, the tenant's id, and False if another process claimed the row first.
    """

    statement: str
    parameters: Mapping[str, Any]
    places: Places

    def take(self, *, crowded: Callable[[], object] = lambda: None) -> AbstractContextManager[Any]:
        """Claim the next row and yield its id. Yield None if no row is due or has a place; see `Places.take`."""
        return self.places.take(self._claim, crowded=crowded)

    def _claim(self, full: list[int]) -> tuple[Any, int] | None:
        while True:
            with connection.cursor() as cursor:
                cursor.execute(self.statement, {**self.parameters, "full": full})
                row: tuple[Any, int, bool] | None = cursor.fetchone()
            if row is None or row[2]:
                return row and row[:2]
