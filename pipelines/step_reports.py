"""What the code of steps reports while it runs: log lines, progress, and details for the next attempt."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol, get_args

from pipelines.failures import cleaned
from wire import log_lines
from wire.masks import masked
from wire.messages.celery_messages import LONGEST_DETAILS, LONGEST_PROGRESS, StepReport
from wire.messages.step_reports import LONGEST_LINE, LONGEST_TOGETHER, MOST_LINES, Level, StepLine

_LEVELS: Final[tuple[Level, ...]] = get_args(Level)
_OWN_LOGGERS: Final = ("celery", "kombu", "pipelines", "py", "wire")
"""The top-level names of the worker's loggers. Those of `py` log warnings of Python."""
_TERMINAL_CODES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[0-_])")
"""The escape sequences of terminals, such as those for colors."""
_creating: Final = threading.Lock()


class Reporting(Protocol):
    """What has the reports of one transition, from the first one on."""

    reports: StepReports | None

    @property
    def notify(self) -> Callable[[], None]:
        """Called when progress or details should be sent soon."""


def _nothing() -> None:
    pass


class Reporter:
    """Has the reports of a transition that has no lease in this process."""

    __slots__ = ("notify", "reports")

    def __init__(self, notify: Callable[[], None] = _nothing) -> None:
        self.notify = notify
        self.reports: StepReports | None = None


current: Final[ContextVar[Reporting | None]] = ContextVar("step_reports", default=None)
"""The transition whose code runs."""


class _Line(NamedTuple):
    at: int
    level: Level
    step: str
    item: int | None
    text: str


class BegunLine(NamedTuple):
    """A line that is printed without its end, and the step and the item that print it."""

    text: str
    step: str | None
    item: int | None


class LineWriter(Protocol):
    """A stream that writes lines."""

    def end_line(self, line: BegunLine) -> None: ...


BegunLines = dict[tuple[int, LineWriter], BegunLine]
"""Lines by thread and stream. A thread may run steps of several transitions at a time, such as that of async steps."""


class StepReports:
    """The reports of one transition. Safe to use from many threads. The values of secrets are hidden in all of them.

    The newest MOST_LINES lines are kept, and of these as many as have LONGEST_TOGETHER characters together.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        """``notify`` is called when progress or details should be sent soon."""
        self.begun_lines: BegunLines = {}
        self.sent_at = 0.0
        """When the newest report was taken, as the monotonic clock gives it."""
        self._notify = notify
        self._lock = threading.Lock()
        self._lines = deque[_Line]()
        self._characters = 0
        self._done: int | None = None
        self._total: int | None = None
        self._message = ""
        self._details = ""
        self._is_new = False

    def add_line(self, level: Level, step: str, item: int | None, text: str) -> None:
        """Add a line without codes for terminals. A text of more than LONGEST_LINE characters is truncated."""
        if "\x1b" in text:
            text = _TERMINAL_CODES.sub("", text)
        line = _Line(int(time.time() * 1000), level, step, item, cleaned(text, LONGEST_LINE))
        with self._lock:
            self._lines.append(line)
            self._characters += len(line.text)
            while len(self._lines) > MOST_LINES or self._characters > LONGEST_TOGETHER:
                self._characters -= len(self._lines.popleft().text)
            self._is_new = True

    def set_progress(self, done: int, total: int | None, message: str) -> None:
        """Replace the progress. Raises ``TypeError`` and ``ValueError`` for values that cannot be shown."""
        for name, value in (("done", done), ("total", 0 if total is None else total)):
            if type(value) is not int:
                raise TypeError(f"progress: {name} is {value!r}; give an integer")
            if not 0 <= value < 2**53:
                raise ValueError(f"progress: {name} is {value}; give a number from 0 to 2**53")
        if not isinstance(message, str):
            raise TypeError(f"progress: message is {message!r}; give a text")
        text = cleaned(message, LONGEST_PROGRESS)
        with self._lock:
            self._done, self._total, self._message, self._is_new = done, total, text, True
        self._notify()

    def set_details(self, step_index: int, item_index: int | None, details: Any) -> None:
        """Replace the details. Raises ``TypeError`` and ``ValueError`` for what is not JSON, or too long."""
        text = json.dumps(details, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text.encode("utf-8", "surrogatepass")) > LONGEST_DETAILS:
            raise ValueError(f"heartbeat: the details have more than {LONGEST_DETAILS} bytes as JSON")
        if masked(text) != text or text != text.encode("utf-8", "replace").decode() or "\\u0000" in text:
            raise ValueError("heartbeat: the details contain a secret, or text that cannot be stored")
        item = "null" if item_index is None else item_index
        with self._lock:
            self._details, self._is_new = f"[{step_index},{item},{text}]", True
        self._notify()

    @property
    def progress(self) -> str:
        """The newest progress, such as `3 of 10: loading`; empty without one."""
        if self._done is None:
            return ""
        total = "" if self._total is None else f" of {self._total:,}"
        return f"{self._done:,}{total}{self._message and ': '}{self._message}"

    @property
    def details(self) -> str:
        """The details as JSON text, with the indexes of the step and the item; empty if there are none."""
        return self._details

    @property
    def has_news(self) -> bool:
        """True if there is something that `take` has not returned."""
        return self._is_new

    def take(self, indexes: Mapping[str, int], *, lines: int = MOST_LINES) -> StepReport | None:
        """Return the report with the newest `lines`, and None if it has not changed since the last call.

        `indexes` has the index of each step by its name.
        """
        with self._lock:
            if not self._is_new:
                return None
            self._is_new, self.sent_at = False, time.monotonic()
            return self._report(indexes, lines)

    def with_all_lines(self, indexes: Mapping[str, int]) -> StepReport | None:
        """Return the report with all lines that are kept; None if nothing was reported."""
        with self._lock:
            is_empty = not self._lines and self._done is None and not self._details
            return None if is_empty else self._report(indexes, MOST_LINES)

    def _report(self, indexes: Mapping[str, int], lines: int) -> StepReport:
        newest: list[StepLine] = [
            (line.at, line.level, indexes[line.step], line.item, line.text)
            for line in list(self._lines)[-lines:]
            if line.step in indexes
        ]
        return StepReport(
            done=self._done, total=self._total, message=self._message, details=self._details, lines=newest
        )


def reports_of(reporting: Reporting) -> StepReports:
    """Return the reports of a transition. Begin them if it has none."""
    if reporting.reports is None:
        with _creating:
            if reporting.reports is None:
                reporting.reports = StepReports(reporting.notify)
    return reporting.reports


def is_authored(logger: str) -> bool:
    """Return True for the name of a logger of the author's code or its libraries."""
    return logger.partition(".")[0] not in _OWN_LOGGERS


class ReportedLines(logging.Handler):
    """Adds the records of the author's code to the reports of the transition that runs."""

    def emit(self, record: logging.LogRecord) -> None:
        reporting, (step, item) = current.get(), log_lines.step_and_item.get()
        if reporting is None or step is None or not is_authored(record.name):
            return
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
        except Exception:
            text = "A line cannot be shown"
        level = _LEVELS[min(max(record.levelno // 10 - 1, 0), len(_LEVELS) - 1)]
        reports_of(reporting).add_line(level, step, item, text)
