"""What steps print: a stream in place of stdout or stderr that makes one log line of each line that is printed."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from pipelines.step_reports import BegunLine, BegunLines, ReportedLines, StepReports, current, reports_of
from wire import log_lines
from wire.masks import masked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LONGEST_PIECE: Final = 8_192
"""In characters. A longer line is truncated, and one without an end is written in pieces."""
_of_no_transition: Final[BegunLines] = {}
"""The lines without their ends of threads that run no transition."""
_writing: Final = threading.local()
"""`is_on` is true in a thread that writes a line, whose log handlers may print too."""


class PrintedLines(io.TextIOBase):
    """Passes each whole line to `write_line`. Threads do not tear each other's lines. Safe to use from many threads.

    It stands in for a stream of Python, so it has what code expects of one: bytes may be written to `buffer`.
    """

    encoding = "utf-8"
    errors = "replace"
    line_buffering = True

    def __init__(self, original: TextIO, write_line: Callable[[str], None], *, copies: bool = False) -> None:
        """`copies`: what is printed also goes to the original stream, as it is."""
        self._original = original
        self._write_line = write_line
        self._copies = copies
        self.name = getattr(original, "name", "")
        self.buffer = _Bytes(self)

    def reconfigure(self, **_: object) -> None:
        """Do nothing: the settings of a stream do not apply to lines."""

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
        reporting = current.get()
        begun = _of_no_transition if reporting is None else reports_of(reporting).begun_lines
        key = threading.get_ident(), self
        before = begun.pop(key, None)
        *lines, rest = (text if before is None else before.text + text).split("\n")
        for line in lines:
            self._write(line)
        # A piece is cut off where a secret that crosses the cut is complete, so that it is hidden.
        if len(rest) > 2 * LONGEST_PIECE:
            rest = masked(rest)
            self._write(rest[:LONGEST_PIECE])
            rest = rest[LONGEST_PIECE:][-LONGEST_PIECE:]
        if rest:
            begun[key] = BegunLine(rest, *log_lines.step_and_item.get())
        return len(text)

    def end_line(self, line: BegunLine) -> None:
        """Write a line that a step has begun."""
        token = log_lines.step_and_item.set((line.step, line.item))
        self._write(line.text)
        log_lines.step_and_item.reset(token)

    def _write(self, line: str) -> None:
        """Pass one line. A progress bar replaces its line after a carriage return, so only its end counts."""
        shown = line.removesuffix("\r").rpartition("\r")[2]
        if len(shown) > LONGEST_PIECE:
            shown = masked(shown)[: LONGEST_PIECE - 1] + "…"
        if not shown.strip():
            return
        _writing.is_on = True
        try:
            self._write_line(shown)
        finally:
            _writing.is_on = False


class _Bytes(io.BufferedIOBase):
    """Makes text of the bytes that code writes to `sys.stdout.buffer`."""

    def __init__(self, lines: PrintedLines) -> None:
        self._lines = lines

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._lines.fileno()

    def flush(self) -> None:
        self._lines.flush()

    def write(self, data: ReadableBuffer, /) -> int:
        written = bytes(data)
        self._lines.write(written.decode(errors="replace"))
        return len(written)


def end_lines(reports: StepReports) -> None:
    """Write the lines that the steps of a transition have begun to print, in all threads."""
    for key in list(reports.begun_lines):
        line = reports.begun_lines.pop(key, None)
        if line is not None:
            key[1].end_line(line)


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
    handler = ReportedLines()

    def write(text: str) -> None:
        record = logging.LogRecord(name, level, "", 0, text, (), None)
        if reports:
            handler.handle(record)
        elif logging.root.isEnabledFor(level):
            logging.root.handle(record)  # code that configures logging disables other loggers

    return write
