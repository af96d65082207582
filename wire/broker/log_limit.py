"""Limits the rate at which errors of one kind are logged, so that an outage does not fill the log."""

import logging
import threading
import time

MOST = 5
EACH = {"unlimited": True}
"""The `extra` of an event that operators search for by its id. It always passes."""
SECONDS = 60.0


class LogLimit(logging.Filter):
    """Passes MOST errors of one kind in each window of SECONDS. The next window reports how many were omitted.

    Errors are of one kind if the same line of code logs them, for an exception of the same class raised by the same
    line. Records below ERROR always pass, and so do those with `EACH`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._windows: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR or getattr(record, "unlimited", False):
            return True
        kind = (record.pathname, record.lineno, *_origin(record))
        now = time.monotonic()
        with self._lock:
            began, count = self._windows.get(kind, (now, 0))
            left_out = 0
            if now - began >= SECONDS:
                left_out = max(count - MOST, 0)
                began, count = now, 0
            self._windows[kind] = (began, count + 1)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more errors of this kind were not logged)"
            record.args = None
        return count < MOST


def _origin(record: logging.LogRecord) -> tuple[object, ...]:
    """Return the class of the record's exception, and the line that raised it."""
    if not record.exc_info or record.exc_info[0] is None:
        return ()
    kind, _, trace = record.exc_info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return (kind,)
    return kind, trace.tb_frame.f_code.co_filename, trace.tb_lineno
