"""Counts calls of Python functions in all threads, by package."""

import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

INTO_C = "into-c"
ALL = "all"
OURS = {"benchmarks", "__main__"}
"""The packages that count. They are not part of what they measure."""
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>"}
"""Since Python 3.12 these are not functions, so they never count."""
QUIET_SECONDS = 0.004
"""How long no thread calls anything before the work counts as done."""

Profile = Callable[[FrameType, str, Any], None]


class CallCounter:
    """Counts the calls of the current thread during `start` and `stop`, and those of each thread that starts later.

    Create it before the threads of the product start: Python 3.11 cannot observe a thread that runs already.
    """

    def __init__(self) -> None:
        self._main: Counter[str] = Counter()
        self._others: dict[int, Counter[str]] = {}
        self._profile = _profile_into(self._main)
        threading.setprofile(self._begin_thread)

    def start(self) -> None:
        self._main.clear()
        for counts in self._others.values():
            counts.clear()
        sys.setprofile(self._profile)

    def stop(self) -> tuple[dict[str, int], int]:
        """Wait until the other threads rest. Return the calls by package, and how many other threads ran."""
        sys.setprofile(None)
        self._wait_until_quiet()
        busy = [counts for counts in self._others.values() if counts]
        counted: dict[str, int] = defaultdict(int)
        for counts in (self._main, *busy):
            for module, calls in list(counts.items()):
                counted[package_of(module)] += calls
        for ours in OURS:
            counted.pop(ours, None)
        counted[ALL] = sum(calls for package, calls in counted.items() if package != INTO_C)
        return dict(counted), len(busy)

    def _begin_thread(self, frame: FrameType, event: str, argument: Any) -> None:
        counts = self._others.setdefault(threading.get_ident(), Counter())
        profile = _profile_into(counts)
        sys.setprofile(profile)
        profile(frame, event, argument)

    def _wait_until_quiet(self) -> None:
        before = -1
        while (now := sum(sum(counts.values()) for counts in list(self._others.values()))) != before:
            before = now
            if self._others:
                time.sleep(QUIET_SECONDS)


def _profile_into(counts: Counter[str]) -> Profile:
    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            if frame.f_code.co_name not in COMPREHENSIONS:
                counts[frame.f_globals.get("__name__") or ""] += 1
        elif event == "c_call":
            counts[INTO_C] += 1

    return profile


def package_of(module: str) -> str:
    """Return the package of a module, or `python` for the standard library."""
    top = module.partition(".")[0]
    generated = top.startswith(("namedtuple_", "_sysconfigdata")) or top in {"", "__mp_main__"}
    return "python" if generated or top in sys.stdlib_module_names else top
