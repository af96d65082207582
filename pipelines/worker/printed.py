"""What steps print: a stream in place of stdout or stderr that makes one log line of each line that is printed."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TextIO

from pipelines.step_reports import ReportedLines
from wire import log_lines
from wire.masks import masked

LONGEST_PIECE: Final = 8_192
"""In characters. A longer line is divided."""
begun: Final[dict[tuple[int, int, PrintedLines], tuple[str, str | None, int | None]]] = {}
"""The lines without their ends, by transition, thread and stream: the text, and the step and the item that printed it.

A thread may run steps of several transitions at a time, such as that of the async steps.
"""
_writing: Final = threading.local()
"""`is_on` is true in a thread that writes a line, whose log handlers may print too."""


class PrintedLines(io.TextIOBase):
    """Passes each whole line to `write_line`. Threads do not tear each other's lines. Safe to use from many threads."""

    def __init__(self, original: TextIO, write_line: Callable[[str], None], *, copies: bool = False) -> None:
        """`copies`: what is printed also goes to the original stream, as it is."""
        self._original = original
        self._write_line = write_line
        self._copies = copies

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._copies and self._original.isatty()

    def fileno(self) -> int:
        return self._original.fileno()

    def flush(self) -> None:
        """Flush the original stream. A line continues until its end."""
        if self._copies:
            self._original.flush()

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._copies:
            self._original.write(masked(text))
        if getattr(_writing, "is_on", False):
            if not self._copies:
                self._original.write(masked(text))
            return len(text)
        key = _transition(), threading.get_ident(), self
        *lines, rest = (begun.pop(key, ("", None, None))[0] + text).split("\n")
        for line in lines:
            self._write(line)
        if len(rest) > LONGEST_PIECE:
            self._write(rest[:LONGEST_PIECE])
            rest = rest[LONGEST_PIECE:]
        if rest:
            begun[key] = rest[-LONGEST_PIECE:], *log_lines.step_and_item.get()
        return len(text)

    def end_line(self, text: str, step: str | None, item: int | None) -> None:
        """Write a line that the step and the item have begun."""
        token = log_lines.step_and_item.set((step, item))
        self._write(text)
        log_lines.step_and_item.reset(token)

    def _write(self, line: str) -> None:
        """Pass one line. A progress bar replaces its line after a carriage return, so only its end counts."""
        shown = line.removesuffix("\r").rpartition("\r")[2]
        if not shown.strip():
            return
        _writing.is_on = True
        try:
            self._write_line(shown)
        finally:
            _writing.is_on = False


def _transition() -> int:
    """Return the identity of the transition to which this context belongs, also in threads and tasks of its steps."""
    return id(log_lines.fields.get())


def end_lines() -> None:
    """Write the lines that this transition has begun to print, in whatever thread its steps run."""
    transition = _transition()
    for key in [each for each in list(begun) if each[0] == transition]:
        line = begun.pop(key, None)
        if line is not None:
            key[-1].end_line(*line)


@contextmanager
def printed_lines(*, copies: bool) -> Iterator[None]:
    """Make log lines of what is printed in the block: of level INFO for stdout, and WARNING for stderr.

    With `copies`, what is printed stays as it is, and steps report it.
    """
    before = sys.stdout, sys.stderr
    sys.stdout = PrintedLines(sys.stdout, _writer("stdout", logging.INFO, copies), copies=copies)
    sys.stderr = PrintedLines(sys.stderr, _writer("stderr", logging.WARNING, copies), copies=copies)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _writer(name: str, level: int, reports: bool) -> Callable[[str], None]:
    if not reports:
        return partial(logging.getLogger(name).log, level, "%s")
    handler = ReportedLines()

    def report(text: str) -> None:
        handler.handle(logging.LogRecord(name, level, "", 0, text, (), None))

    return report
