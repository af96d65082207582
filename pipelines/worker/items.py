"""Runs one step for the items of a stream, in threads. Each item has its own retries, and results keep their order.

The thread of the transition reads the stream, starts items, and yields their results. It alone has the state here.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.values import Encoded
from pipelines.failures import Failed
from pipelines.worker.daemon_threads import DaemonThreads

MOST_AHEAD: Final = 1_000
"""How many items may be running, waiting for a retry, or finished before an earlier one is."""
MOST_THREADS: Final = 256
"""How many threads all transitions of a process have for items. A transition always gets one more if all are used."""
LONGEST_WAIT: Final = 0.5
"""Seconds between two looks at whether the transition still counts."""
_END: Final = object()


@dataclass(slots=True)
class BranchCall(Encoded):
    """A value for one branch of a step. ``item_index`` is that of a stream, or None."""

    step: PlannedStep
    item_index: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a stream. ``tries`` counts the calls that have failed."""

    index: int
    encoded: Encoded
    tries: int = 0


Results = list[Encoded]


class Rules(NamedTuple):
    """How the items of one step run.

    ``call`` calls the step for an item in any thread, and never raises. ``wait`` returns the seconds before another
    try of an item that failed, or None for no other try. ``give_up`` returns what stands for an item that failed for
    good, or raises. ``finished`` is called for each other item as soon as its results are known. ``check`` raises if
    the transition no longer counts, and is called at least each LONGEST_WAIT seconds.
    """

    parallel: int
    call: Callable[[Item], Results | Failed]
    wait: Callable[[Item, Failed], float | None]
    give_up: Callable[[Item, Failed], Results]
    finished: Callable[[Item, Results], None]
    check: Callable[[], None]


def results(rules: Rules, items: Iterator[Encoded], known: Mapping[int, Callable[[], Results]]) -> Iterator[Encoded]:
    """Yield the results of all items in the order of the items. Those of ``known`` items are not computed again.

    The stream is read only as far as threads are free. When the iterator is closed or fails, the calls that are
    running end first, and no other begins.
    """
    return _Run(rules, items, known).results()


class _Run:
    def __init__(self, rules: Rules, items: Iterator[Encoded], known: Mapping[int, Callable[[], Results]]) -> None:
        self._rules = rules
        self._items = items
        self._known = known
        self._ended: SimpleQueue[tuple[Item, Results | Failed]] = SimpleQueue()
        self._ready: dict[int, Results] = {}
        self._delayed: list[tuple[float, int, Item]] = []
        self._running = 0
        self._read = 0
        self._exhausted = False

    def results(self) -> Iterator[Encoded]:
        with _threads.lent(self._rules.parallel) as threads:
            pool = DaemonThreads(threads, "item")
            try:
                head = 0
                while True:
                    self._start(pool, threads)
                    if head in self._ready:
                        yield from self._ready.pop(head)
                        head += 1
                    elif self._running or self._delayed:
                        self._take_next()
                    elif self._exhausted:
                        return
                    self._take_ended()
            finally:
                pool.shutdown(cancel_futures=True)
                self._take_rest()

    def _start(self, pool: DaemonThreads, threads: int) -> None:
        """Start items while threads are free: first those whose retry is due, then new ones of the stream."""
        while self._running < threads:
            if self._delayed and self._delayed[0][0] <= time.monotonic():
                item = heapq.heappop(self._delayed)[2]
            elif self._exhausted or self._running + len(self._delayed) + len(self._ready) >= MOST_AHEAD:
                return
            elif (encoded := next(self._items, _END)) is _END:
                self._exhausted = True
                continue
            else:
                assert isinstance(encoded, Encoded)  # noqa: S101 - for mypy
                item = Item(self._read, encoded)
                self._read += 1
                if (known := self._known.get(item.index)) is not None:
                    self._ready[item.index] = known()
                    continue
            self._running += 1
            pool.submit(copy_context().run, self._call, item)

    def _call(self, item: Item) -> None:
        self._ended.put((item, self._rules.call(item)))

    def _take_next(self) -> None:
        """Wait until a call ends or a retry is due, but not longer than LONGEST_WAIT."""
        wait = LONGEST_WAIT
        if self._delayed:
            wait = min(wait, max(self._delayed[0][0] - time.monotonic(), 0))
        if not self._running:
            time.sleep(wait)
            return
        with suppress(Empty):
            self._take(*self._ended.get(timeout=wait))

    def _take_ended(self) -> None:
        """Take all calls that have ended."""
        self._rules.check()
        with suppress(Empty):
            while True:
                self._take(*self._ended.get_nowait())

    def _take(self, item: Item, ended: Results | Failed) -> None:
        self._running -= 1
        if not isinstance(ended, Failed):
            self._ready[item.index] = ended
            self._rules.finished(item, ended)
            return
        wait = self._rules.wait(item, ended)
        if wait is None:
            self._ready[item.index] = self._rules.give_up(item, ended)
        else:
            again = replace(item, tries=item.tries + 1)
            heapq.heappush(self._delayed, (time.monotonic() + wait, item.index, again))

    def _take_rest(self) -> None:
        """Report the items that finished while the run ended. Their failures no longer matter."""
        while not self._ended.empty():
            item, ended = self._ended.get()
            if not isinstance(ended, Failed):
                self._rules.finished(item, ended)


class _Threads:
    """Counts the threads for items in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = 0

    def lent(self, wanted: int) -> _Lent:
        with self._lock:
            number = max(1, min(wanted, MOST_THREADS - self._used))
            self._used += number
        return _Lent(self, number)

    def give_back(self, number: int) -> None:
        with self._lock:
            self._used -= number


class _Lent(NamedTuple):
    threads: _Threads
    number: int

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *_: Any) -> None:
        self.threads.give_back(self.number)


_threads: Final = _Threads()
