"""Lets concurrent callers share one commit.

A caller that arrives during a commit waits for the next one, together with all others that arrive meanwhile. Any other
caller commits immediately. So a single caller never waits, and groups grow only while the database is busy. There is no
timer and no separate thread: one caller of each group writes the rows of all.
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
class _Caller(Generic[Row, Result]):
    """The rows of one caller, and then their results or an error. If `leads` is True, the woken caller commits."""

    rows: Sequence[Row]
    size: int
    results: list[Result] | None = None
    error: BaseException | None = None
    leads: bool = False
    woken: threading.Event = field(default_factory=threading.Event)

    def finish(self, results: list[Result] | None = None, error: BaseException | None = None) -> None:
        self.results, self.error = results, error
        self.woken.set()


class GroupCommit(Generic[Row, Result]):
    """Calls `write` with the rows of all waiting callers, in order of arrival.

    A call has at most `most_rows` rows, unless a single caller has more, and at most `most_bytes` bytes. A caller with
    more bytes gets a separate call, which delays no other caller. `size` returns the bytes of one row. `write` runs one
    transaction and returns one result for each row, in the same order. `is_outage` returns True if other rows would
    cause the same error of `write`.
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
        self._waiting: deque[_Caller[Row, Result]] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """The number of callers that wait for a commit which has not begun."""
        return len(self._waiting)

    def commit(self, rows: Sequence[Row]) -> list[Result]:
        """Write `rows` and return their results once they are durable. Raise the error of `write` for these rows.

        Rows of a caller that is in a transaction are written in it, separately: they are durable when it commits.
        """
        size = sum(map(self._size, rows))
        if size > self._most_bytes or connection.in_atomic_block:
            return self._write(list(rows))
        caller = _Caller[Row, Result](rows, size)
        with self._lock:
            self._waiting.append(caller)
            leads, self._busy = not self._busy, True
        if not leads:
            caller.woken.wait()
        if leads or caller.leads:
            self._lead()
        if caller.error is not None:
            raise caller.error
        assert caller.results is not None  # noqa: S101 - the leader sets the results or the error
        return caller.results

    def _lead(self) -> None:
        group = self._next_group()
        try:
            self._write_all(group)
        except BaseException as error:
            for caller in group:
                if caller.results is None and caller.error is None:
                    caller.finish(error=error)
            raise
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._busy = successor is not None
            if successor is not None:
                successor.leads = True
                successor.woken.set()

    def _next_group(self) -> list[_Caller[Row, Result]]:
        with self._lock:
            group = [self._waiting.popleft()]
            rows, size = len(group[0].rows), group[0].size
            while self._waiting:
                rows, size = rows + len(self._waiting[0].rows), size + self._waiting[0].size
                if rows > self._most_rows or size > self._most_bytes:
                    break
                group.append(self._waiting.popleft())
        return group

    def _write_all(self, group: Sequence[_Caller[Row, Result]]) -> None:
        """Write the rows of the group together. If `write` rejects them, write each caller's rows separately."""
        try:
            results = self._write([row for caller in group for row in caller.rows])
        except Exception as error:
            if len(group) > 1 and not self._is_outage(error):
                self._write_each(group)
                return
            for caller in group:
                caller.finish(error=error)
            return
        start = 0
        for caller in group:
            caller.finish(results[start : start + len(caller.rows)])
            start += len(caller.rows)

    def _write_each(self, group: Sequence[_Caller[Row, Result]]) -> None:
        """Write each caller's rows separately. In an outage all remaining callers get the same error immediately.

        Otherwise each of them would wait for another timeout.
        """
        for place, caller in enumerate(group, start=1):
            self._write_all([caller])
            if caller.error is not None and self._is_outage(caller.error):
                for other in group[place:]:
                    other.finish(error=caller.error)
                break
