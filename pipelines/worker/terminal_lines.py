"""Log lines for an author at a terminal: the step and the text, without what only machines and operators need."""

from __future__ import annotations

import logging

from pipelines.step_reports import is_authored
from wire import log_lines
from wire.masks import masked


def of_author(record: logging.LogRecord) -> bool:
    """Return True for lines of the author's code and its libraries, and for warnings of the worker."""
    if is_authored(record.name):
        return True
    # Celery's SecurityWarning says that root runs the worker, which is ordinary in a container.
    return record.levelno >= logging.WARNING and "SecurityWarning" not in record.getMessage()


class TerminalFormatter(logging.Formatter):
    """Formats a record as `step: text`, with the level if it is not INFO and the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        step = getattr(record, "step", None) or log_lines.step_and_item.get()[0]
        text = record.getMessage()
        if frames := getattr(record, "frames", None):
            text += f" at {frames[-1]}"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        level = "" if record.levelno == logging.INFO else record.levelname
        return masked(" ".join(part for part in (step and f"{step}:", level, text) if part))
