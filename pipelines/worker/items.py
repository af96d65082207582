"""Runs one step for the items of a stream, in threads. Each item has its own retries, and results keep their order.

The thread of the transition reads the stream, starts items, and yields their results. It alone has the state here.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.values import Encoded
from pipelines.failures import Failed
from wire.messages.task_messages import MOST_BYTES

if TYPE_CHECKING:
    from pipelines.worker.supervision import Watch

MOST_THREADS: Final = 256
"""How many threads all transitions of a process have for items. A transition always gets one more if all are used."""
LONGEST_WAIT: Final = 0.5
"""Seconds between two looks at whether the transition still counts."""
_END: Final = object()


class ItemLimits(NamedTuple):
    """The limits of a step with ``parallel``.

    ``ahead`` is how many items may be running, waiting for a retry, or finished before an earlier one is. Finished
    items are stored in groups of at most ``group_items`` items, and as soon as a group has ``group_characters``
    characters or ``group_seconds`` have passed.
    """

    ahead: int = 1_000
    group_items: int = 100
    group_characters: int = MOST_BYTES
    group_seconds: float = 2.0


ITEM_LIMITS: Final = ItemLimits()


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
Known = Callable[[Item], Results]
"""Returns the results of an item that is finished."""


class Rules(NamedTuple):
    """How the items of one step run.

    ``call`` calls the step for an item in any thread, and never raises. Its second argument returns True once the call
    no longer counts. ``wait`` returns the seconds before another try of an item that failed, or None for no other try.
    ``give_up`` returns what stands for an item without another try, or raises. ``finished`` is called for each other
    item as soon as its results are known. ``check`` raises if the transition no longer counts, and is called at least
    each LONGEST_WAIT seconds. ``ahead`` is that of `ItemLimits`. ``watch`` knows the time limit of the calls; None if
    they have none.
    """

    parallel: int
    call: Callable[[Item, Callable[[], bool]], Results | Failed]
    wait: Callable[[Item, Failed], float | None]
    give_up: Callable[[Item, Failed], Results]
    finished: Callable[[Item, Results], None]
    check: Callable[[], None]
    ahead: int
    watch: Watch | None = None


def results(rules: Rules, items: Iterator[Encoded], known: Mapping[int, Known]) -> Iterator[Encoded]:
    """Yield the results of all items in the order of the items. Those of ``known`` items are not computed again.

    The stream is read only as far as threads are free. When the iterator is closed or fails, the calls that are
    running end first, and no other begins. A call that exceeds its time limit is abandoned: its item has failed, and
    another thread takes its place.
    """
    return _Run(rules, items, known).results()


class _Call:
    """One call of the step. ``thread`` is 0 until it begins."""

    def __init__(self, item: Item, context: Context) -> None:
        self.item = item
        self.context = context
        self.thread = 0
        self.has_ended = False
        self.is_abandoned = False

    def is_over(self) -> bool:
        """Return True once the call no longer counts."""
        return self.is_abandoned


class _Run:
    def __init__(self, rules: Rules, items: Iterator[Encoded], known: Mapping[int, Known]) -> None:
        self._rules = rules
        self._items = items
        self._known = known
        self._begun: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[_Call, Results | Failed]] = SimpleQueue()
        self._lock = threading.Lock()  # of the end of a call
        self._calls: set[_Call] = set()
        self._threads = 0
        self._ready: dict[int, Results] = {}
        self._delayed: list[tuple[float, int, Item]] = []
        self._read = 0
        self._exhausted = False

    def results(self) -> Iterator[Encoded]:
        head = 0
        try:
            while True:
                self._start()
                if head in self._ready:
                    yield from self._ready.pop(head)
                    head += 1
                elif self._calls or self._delayed:
                    self._take_next()
                elif self._exhausted:
                    return
                self._take_ended()
        finally:
            self._take_rest()

    def _start(self) -> None:
        """Start items while threads are free: first those whose retry is due, then new ones of the stream."""
        while self._has_thread():
            if self._delayed and self._delayed[0][0] <= time.monotonic():
                item = heapq.heappop(self._delayed)[2]
            elif self._exhausted or len(self._calls) + len(self._delayed) + len(self._ready) >= self._rules.ahead:
                return
            elif (encoded := next(self._items, _END)) is _END:
                self._exhausted = True
                continue
            else:
                assert isinstance(encoded, Encoded)  # noqa: S101 - for mypy
                item = Item(self._read, encoded)
                self._read += 1
                if (known := self._known.get(item.index)) is not None:
                    self._ready[item.index] = known(item)
                    continue
            call = _Call(item, copy_context())
            self._calls.add(call)
            self._begun.put(call)

    def _has_thread(self) -> bool:
        """Return True if a thread is free. Start one if none is, and if the step and the process may have another."""
        if len(self._calls) < self._threads:
            return True
        if self._threads >= self._rules.parallel or not _places.take(always=not self._threads):
            return False
        thread = threading.Thread(target=self._work, name="item", daemon=True)  # a process ends without hanging calls
        try:
            thread.start()
        except RuntimeError:  # the system has no other
            _places.give_back()
            if not self._threads:
                raise
            return False
        self._threads += 1
        return True

    def _work(self) -> None:
        watch, thread = self._rules.watch, threading.get_ident()
        if watch is not None:
            watch.item_threads.add(thread)
        try:
            while (call := self._begun.get()) is not None:
                call.thread = thread
                ended = call.context.run(self._rules.call, call.item, call.is_over)
                with self._lock:
                    call.has_ended = True
                    if call.is_abandoned:
                        break
                    self._ended.put((call, ended))
                del call, ended  # a thread that waits keeps no value
            else:
                return
            if watch is not None:
                watch.supervisor.returned()
        finally:
            if watch is not None:
                watch.item_threads.discard(thread)
            _places.give_back()

    def _take_next(self) -> None:
        """Wait until a call ends, is overdue, or a retry is due, but not longer than LONGEST_WAIT."""
        wait = LONGEST_WAIT
        if self._delayed:
            wait = min(wait, max(self._delayed[0][0] - time.monotonic(), 0))
        if self._rules.watch is not None:
            wait = min(wait, self._rules.watch.seconds_of_items(call.thread for call in self._calls))
        if not self._calls:
            time.sleep(wait)
            return
        with suppress(Empty):
            self._take(*self._ended.get(timeout=wait))

    def _take_ended(self) -> None:
        """Take all calls that have ended or are overdue."""
        self._rules.check()
        with suppress(Empty):
            while True:
                self._take(*self._ended.get_nowait())
        self._abandon_overdue()

    def _take(self, call: _Call, ended: Results | Failed) -> None:
        self._calls.discard(call)
        item = call.item
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

    def _abandon_overdue(self) -> None:
        for call, failed in self._overdue():
            self._take(call, failed)

    def _overdue(self) -> Iterator[tuple[_Call, Failed]]:
        """Abandon the calls that have exceeded their time limit, with their threads, and yield them."""
        watch = self._rules.watch
        if watch is None:
            return
        for call in list(self._calls):
            failed = watch.overdue_item(call.thread, _Run._work.__code__)
            with self._lock:
                if failed is None or call.has_ended:
                    continue
                watch.supervisor.abandon()  # before the thread can learn of it and return
                call.is_abandoned = True
            self._threads -= 1
            yield call, failed

    def _take_rest(self) -> None:
        """Let running calls end, and report the items that finished meanwhile. Their failures no longer matter."""
        for _ in range(self._threads):
            self._begun.put(None)
        while self._calls:
            for call, _ in self._overdue():
                self._calls.discard(call)
            if not self._calls:
                return
            watch, wait = self._rules.watch, None
            if watch is not None:
                wait = watch.seconds_of_items(call.thread for call in self._calls)
            with suppress(Empty):
                call, ended = self._ended.get(timeout=wait)
                self._calls.discard(call)
                if not isinstance(ended, Failed):
                    self._rules.finished(call.item, ended)


class _Places:
    """Counts the threads for items in this process, with abandoned ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0

    def take(self, *, always: bool) -> bool:
        """Take a place if one is free, or `always`. Return whether it is taken."""
        with self._lock:
            if self._taken >= MOST_THREADS and not always:
                return False
            self._taken += 1
            return True

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1


_places: Final = _Places()
