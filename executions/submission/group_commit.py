"""Several callers share one commit: whoever comes while a commit is under way waits for the next one, with the others.

There is no timer and no thread of its own. A caller that finds nobody at work commits at once, so that a lone one
never waits; the group grows by itself while the database is busy.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from django.db import connection

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass
class _Party(Generic[Row, Result]):
    """One caller's rows, and what became of them. `leads` tells a woken caller that the next commit is its own."""

    rows: Sequence[Row]
    size: int
    results: list[Result] | None = None
    error: BaseException | None = None
    leads: bool = False
    woken: threading.Event = field(default_factory=threading.Event)

    def finish(self, results: list[Result] | None = None, error: BaseException | None = None) -> None:
        """Give the caller its results, or the error to raise."""
        self.results, self.error = results, error
        self.woken.set()


class GroupCommit(Generic[Row, Result]):
    """Calls `write` with the rows of all waiting callers, in their order, and bounds each call.

    A call has at most `most_rows` rows, unless a single caller has more, and at most `most_bytes` bytes. `size` returns
    the bytes of one row. A caller with more bytes than that gets a separate call, which delays no other caller. `write`
    runs one transaction and returns one result for each row, in their order. `is_outage` returns True for an error of
    `write` that any other rows would meet too.
    """

    def __init__(
        self,
        write: Callable[[list[Row]], list[Result]],
        *,
        most_rows: int,
        size: Callable[[Row], int],
        most_bytes: int,
        is_outage: Callable[[BaseException], bool],
    ) -> None:
        self._write = write
        self._most_rows = most_rows
        self._size = size
        self._most_bytes = most_bytes
        self._is_outage = is_outage
        self._lock = threading.Lock()
        self._waiting: deque[_Party[Row, Result]] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """How many callers wait for a commit that has not begun."""
        return len(self._waiting)

    def commit(self, rows: Sequence[Row]) -> list[Result]:
        """Return what `write` made of these rows, once their transaction is durable; raise what it raised.

        A caller inside a transaction of its own shares with nobody: its rows are durable only when that one is.
        """
        size = sum(map(self._size, rows))
        if size > self._most_bytes or connection.in_atomic_block:
            return self._write(list(rows))
        party = _Party[Row, Result](rows, size)
        with self._lock:
            self._waiting.append(party)
            leads, self._busy = not self._busy, True
        if not leads:
            party.woken.wait()
        if leads or party.leads:
            self._lead()
        if party.error is not None:
            raise party.error
        assert party.results is not None  # noqa: S101 - whoever led has seen to it
        return party.results

    def _lead(self) -> None:
        group = self._next_group()
        try:
            self._write_all(group)
        except BaseException as error:
            for party in group:
                if party.results is None and party.error is None:
                    party.finish(error=error)
            raise
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._busy = successor is not None
            if successor is not None:
                successor.leads = True
                successor.woken.set()

    def _next_group(self) -> list[_Party[Row, Result]]:
        with self._lock:
            group = [self._waiting.popleft()]
            rows, size = len(group[0].rows), group[0].size
            while self._waiting:
                rows, size = rows + len(self._waiting[0].rows), size + self._waiting[0].size
                if rows > self._most_rows or size > self._most_bytes:
                    break
                group.append(self._waiting.popleft())
        return group

    def _write_all(self, group: Sequence[_Party[Row, Result]]) -> None:
        """Write the group as one. If it is refused, each caller's rows are written separately."""
        try:
            results = self._write([row for party in group for row in party.rows])
        except Exception as error:
            if len(group) > 1 and not self._is_outage(error):
                self._write_each(group)
                return
            for party in group:
                party.finish(error=error)
            return
        start = 0
        for party in group:
            party.finish(results[start : start + len(party.rows)])
            start += len(party.rows)

    def _write_each(self, group: Sequence[_Party[Row, Result]]) -> None:
        """Each attempt in an outage may take until its timeout, so all other callers get the first one's error."""
        for place, party in enumerate(group, start=1):
            self._write_all([party])
            if party.error is not None and self._is_outage(party.error):
                for other in group[place:]:
                    other.finish(error=party.error)
                break
