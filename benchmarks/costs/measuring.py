"""Measures kinds of work: repeats each one until it is warm, and returns the median of each figure."""

import gc
import platform
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from benchmarks.costs.calls import CallCounter
from benchmarks.costs.servers import Servers

VERSION = ".".join(platform.python_version_tuple()[:2])

Run = Callable[[Any], object]
Counts = dict[tuple[str, str], int]
"""Counts by the end of the name of their table, and their name."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work. `run` is measured with what `prepare` returns, which is called before each run."""

    name: str
    run: Run
    prepare: Callable[[], Any] = lambda: None
    warm_up: int = 7
    times: int = 7


class Meter:
    """Measures with the counters of calls and of the servers."""

    def __init__(self, calls: CallCounter, servers: Servers, refresh: Callable[[], object]) -> None:
        """`refresh` is called immediately before each run."""
        self._calls = calls
        self._servers = servers
        self._refresh = refresh

    def measure(self, work: Work) -> dict[str, dict[str, int]]:
        """Return the medians of what the servers did, and those of the calls. Figures that are 0 are left out."""
        self._servers.vacuum()
        for _ in range(work.warm_up):
            work.run(work.prepare())
        overhead = self._medians(lambda _: None, lambda: None, 1)
        gc.disable()  # a collection may run code of finalizers
        try:
            counted = self._medians(work.run, work.prepare, work.times)
        finally:
            gc.enable()
        tables: dict[str, dict[str, int]] = defaultdict(dict)
        for (table, name), count in counted.items():
            if more := count - overhead.get((table, name), 0):
                tables[work.name + table][name] = more
        return dict(tables)

    def _medians(
        self, run: Callable[[Any], object], prepare: Callable[[], Any], times: int
    ) -> dict[tuple[str, str], int]:
        rounds = [self._once(run, prepare()) for _ in range(times)]
        names = {name for measured in rounds for name in measured}
        return {name: median_low(measured.get(name, 0) for measured in rounds) for name in names}

    def _once(self, run: Run, prepared: Any) -> Counts:
        self._refresh()
        before = self._servers.read()
        self._calls.start()
        try:
            run(prepared)
        finally:
            calls, threads = self._calls.stop()
        after = self._servers.read()
        figures = {("", name): after[name] - before[name] for name in after} | {("", "threads"): threads}
        return figures | {(f", calls in Python {VERSION}", name): count for name, count in calls.items()}
