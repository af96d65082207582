"""Shows how a local run proceeds: a line for each step, on stderr."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, Final

from pipelines.authoring.planned_step import PlannedStep
from wire.documents.contract import ends_in_stream
from wire.masks import masked

SECONDS: Final = 2.0
"""How often a step over a stream that takes long gets another line. A terminal shows it at once."""
REFRESH_SECONDS: Final = 0.1

_NEXT: Final[Any] = next
"""The call with which the runner reads a stream. Its last argument stands for the end."""


@dataclass
class _Work:
    """What a step has done. ``seconds`` are without those of the steps that it reads from.

    Those of a step with ``parallel`` are from its first call to the end of its newest one.
    """

    calls: int = 0
    items: int = 0
    seconds: float = 0.0
    begun: float = field(default_factory=time.perf_counter)


class _Within(threading.local):
    """The seconds of the calls within each call that this thread makes."""

    def __init__(self) -> None:
        self.seconds = [0.0]


class Shown(io.TextIOBase):
    """Stderr, with a last line on terminals that says what runs now. Anything that is written replaces that line."""

    def __init__(self) -> None:
        self._now = False

    def write(self, text: str) -> int:
        cleared = "\r\x1b[K" if self._now else ""
        self._now = False
        sys.stderr.write(cleared + masked(text))
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()

    @property
    def buffer(self) -> BinaryIO:
        return sys.stderr.buffer

    def now(self, text: str) -> None:
        """Show what runs now."""
        self.write(text)
        self.flush()
        self._now = True


class Progress:
    """Counts calls, items and time of the steps of one run, and writes them to ``shown``."""

    def __init__(self, steps: Iterable[PlannedStep], shown: Shown) -> None:
        self._shown = shown
        self._steps = tuple(steps)
        self._width = min(max(len(step.name) for step in self._steps), 40)
        before = [[step.cardinality for step in self._steps[:place]] for place in range(len(self._steps))]
        self._once = {
            step.index
            for step, cardinalities in zip(self._steps, before, strict=True)
            if not step.cardinality.gives_many and (step.cardinality.takes_many or not ends_in_stream(cardinalities))
        }
        self._work: dict[int, _Work] = {}
        self._printed = 0
        self._lock = threading.Lock()  # items of a step with `parallel` run in threads
        self._within = _Within()
        self._interval = REFRESH_SECONDS if shown.isatty() else SECONDS
        self._next_at = time.monotonic() + self._interval

    def call(self, step: PlannedStep, function: Callable[[], Any]) -> Any:
        """Make a call of a step's code, and return its result."""
        with self._lock:
            work = self._work.setdefault(step.index, _Work())
            self._show(step, work)
        within = self._within.seconds
        within.append(0.0)
        begun = time.perf_counter()
        try:
            result = function()
        finally:
            took = time.perf_counter() - begun
            took_alone = took - within.pop()
            within[-1] += took
            with self._lock:
                work.seconds = work.seconds + took_alone if step.items is None else time.perf_counter() - work.begun
        with self._lock:
            self._count(step, work, function, result)
        return result

    def _count(self, step: PlannedStep, work: _Work, function: Callable[[], Any], result: Any) -> None:
        called, arguments = (function.func, function.args) if isinstance(function, partial) else (function, ())
        if called is step.function:
            work.calls += 1
            if step.index in self._once:
                self.done(step.index + 1)
        elif called is _NEXT and result is not arguments[-1]:
            work.items += 1

    def _show(self, step: PlannedStep, work: _Work) -> None:
        """Show which step runs now, but not too often. Elsewhere than at a terminal, only long streams are shown."""
        now = time.monotonic()
        if self._shown.isatty() and (now >= self._next_at or not (work.calls or work.items)):
            self._shown.now(f"{step.name:<{self._width}}  {_items(step, work)} …")
        elif now >= self._next_at and work.calls > 1:
            self.line(step.name, f"{_items(step, work)} so far")
        else:
            return
        self._next_at = now + self._interval

    def reported(self, name: str, text: str) -> None:
        """Show the progress that a step reports, but not too often."""
        now = time.monotonic()
        if now < self._next_at:
            return
        if self._shown.isatty():
            self._shown.now(f"{name:<{self._width}}  {text} …")
            self._next_at = now + self._interval
        else:
            self.line(name, f"{text}, so far")

    def done(self, before: int) -> None:
        """Print the lines of the steps with smaller indexes that have run and have no line yet."""
        for step in self._steps[self._printed : before]:
            if (work := self._work.get(step.index)) is not None:
                self.line(step.name, ", ".join(filter(None, [_items(step, work), _duration(work.seconds)])))
        self._printed = max(self._printed, before)

    def failed(self, index: int | None) -> None:
        """Print the line of the step that failed, after those of the steps before it."""
        if index is not None:
            self.done(index)
            work = self._work.get(index, _Work())
            at = f" at item {work.calls + 1}" if work.calls and self._steps[index].items is None else ""
            self.line(self._steps[index].name, f"failed{at}, {_duration(work.seconds)}")

    def restart(self, index: int) -> None:
        """Forget what the steps from ``index`` on have done, because they run again."""
        self._work = {known: work for known, work in self._work.items() if known < index}
        self._printed = index

    def line(self, name: str, text: str) -> None:
        self._next_at = time.monotonic() + self._interval
        print(f"{name:<{self._width}}  {text}", file=self._shown, flush=True)


def _items(step: PlannedStep, work: _Work) -> str:
    if step.cardinality.gives_many:
        return f"{work.items:,} item{'' if work.items == 1 else 's'}"
    return f"{work.calls:,} items" if work.calls > 1 else ""


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
