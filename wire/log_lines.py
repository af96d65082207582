"""The form of the log lines of all processes: one event a line, in ASCII, with the fields that are known.

The text of an exception may contain a payload or a secret, so a line has the classes of exceptions and their frames
only. The texts of errors of connections are an exception to that.
"""

import json
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from os import sep
from typing import Any, Final, Literal

from wire.masks import masked

Form = Literal["text", "json"]
FORMS: Final = ("text", "json")
FIELDS: Final = (
    "requestId",
    "tenant",
    "pipeline",
    "release",
    "execution",
    "executions",
    "step",
    "attempt",
    "item",
    "traceId",
)
"""The fields that a line may have, from `bound` or from the `extra` of the call."""
MOST_FRAMES: Final = 50
MOST_CAUSES: Final = 5
LONGEST_TEXT: Final = 300
LONGEST_EVENT: Final = 32_768
"""In characters. A longer event is truncated, because a line needs several times its memory."""

Source = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
fields: Final[ContextVar[tuple[Source, ...]]] = ContextVar("log_fields", default=())
"""What all lines have fields of: see `bound`."""
step_and_item: Final[ContextVar[tuple[str | None, int | None]]] = ContextVar("log_step", default=(None, None))
"""The name of the step whose code runs, and the index of the item for which it was called; None without a stream."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_CONNECTIONS: Final = ("redis", "kombu", "psycopg", "django.db")
_CONNECTION_ERRORS: Final = frozenset({"ConnectionError", "OperationalError", "TimeoutError"})


class bound:  # noqa: N801 - used like a function
    """Give all lines of the block the fields of `source`. A function is called for each line."""

    __slots__ = ("_source", "_token")

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> None:
        self._token = fields.set((*fields.get(), self._source))

    def __exit__(self, *_: object) -> None:
        fields.reset(self._token)


class LineFormatter(logging.Formatter):
    """Formats records of any logger. A record that cannot be formatted becomes a line that says so."""

    def __init__(self, form: Form = "text") -> None:
        super().__init__()
        self._write: Callable[[dict[str, Any]], str] = _as_json if form == "json" else _as_text

    def format(self, record: logging.LogRecord) -> str:
        try:
            return self._write(_members(_without_text(record)))
        except Exception as error:
            event = f"A line cannot be shown: {type(error).__qualname__}"
            return self._write(_members(logging.LogRecord(record.name, record.levelno, "", 0, event, (), None)))


def _without_text(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record of Celery about a failed task without the text of the exception."""
    values = record.args
    if record.name != "celery.app.trace" or not isinstance(values, Mapping) or "exc" not in values:
        return record
    shown = logging.makeLogRecord(record.__dict__)
    shown.msg, shown.args = f"Task {values.get('name')} {values.get('description')}", ()
    return shown


def _members(record: logging.LogRecord) -> dict[str, Any]:
    """Return the members of the line, in their order."""
    event = masked(record.getMessage())
    line: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "event": event if len(event) <= LONGEST_EVENT else f"{event[: LONGEST_EVENT - 1]}…",
        **_fields(record),
    }
    if record.exc_info and record.exc_info[1] is not None:
        line["exception"] = described(record.exc_info[1])
    elif frames := getattr(record, "frames", None):
        line["exception"] = {"class": str(getattr(record, "errorClass", "")), "frames": list(map(str, frames))}
    return line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    step, item = step_and_item.get()
    known: dict[str, Any] = {"step": step, "item": item}
    # Django logs responses with an error status when its middleware is over.
    of_request = getattr(getattr(record, "request", None), "log_fields", None)
    for source in fields.get() if of_request is None else (*fields.get(), of_request):
        known.update(source() if callable(source) else source)
    named = {name: getattr(record, name, known.get(name)) for name in FIELDS}
    filled = {name: value for name, value in named.items() if value is not None and value != ""}
    return {name: value if isinstance(value, int) else str(value) for name, value in filled.items()}


def described(error: BaseException) -> dict[str, Any]:
    """Return the class of an exception, its frames, and those of its causes."""
    members: dict[str, Any] = {}
    at = members
    shown: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if shown is None:
            break
        at |= _described(shown)
        after = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
        if after is not None:
            at["cause"] = at = {}
        shown = after
    return members


def _described(error: BaseException) -> dict[str, Any]:
    cls, text, code = type(error), _connection_text(error), getattr(error, "sqlstate", None)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    members: dict[str, Any] = {"class": name}
    if text:
        members["text"] = text
    if code:
        members["code"] = str(code)
    members["frames"] = frames_of(error)
    return members


def frames_of(error: BaseException) -> list[str]:
    """Return where an exception was raised, from the outermost frame on, at most MOST_FRAMES: `file.py:12 in name`.

    Files are named relative to the folder from which they were imported.
    """
    walked = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), limit=-MOST_FRAMES, lookup_lines=False
    )
    return [f"{relative(frame.filename)}:{frame.lineno} in {frame.name}" for frame in walked]


def relative(file: str) -> str:
    """Return the path of a file relative to the longest folder of the path of imports that contains it."""
    roots = [root for folder in sys.path if folder and file.startswith(root := folder.rstrip(sep) + sep)]
    return file[len(max(roots, key=len)) :] if roots else file.rpartition(sep)[2]


def _connection_text(error: BaseException) -> str:
    """Return what an error of a connection says; empty for any other error."""
    if isinstance(error, OSError):
        return masked(error.strerror or "")
    cls = type(error)
    cause = error.__cause__ or error
    is_known = cls.__module__.startswith(_CONNECTIONS) and cls.__name__ in _CONNECTION_ERRORS
    if not is_known or getattr(cause, "sqlstate", None):
        return ""
    return masked(str(error).partition("\n")[0])[:LONGEST_TEXT]


def _as_json(line: dict[str, Any]) -> str:
    return json.dumps(line, default=repr)


def _as_text(line: Mapping[str, Any]) -> str:
    """Return `time LEVEL logger event` and the fields, in printable ASCII. A new line becomes two characters."""
    members = dict(line)
    beginning = " ".join([str(members.pop(name)) for name in ("timestamp", "level", "logger", "event")])
    rest = [
        f" {name}={value if isinstance(value, str | int) else json.dumps(value)}" for name, value in members.items()
    ]
    plain = _CONTROL.sub(lambda match: repr(match[0])[1:-1], beginning + "".join(rest))
    return plain.encode("ascii", "backslashreplace").decode()


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
    if frames := getattr(record, "frames", None):
        return getattr(record, "errorClass", ""), frames[-1]
    if not record.exc_info or record.exc_info[0] is None:
        return ()
    kind, _, trace = record.exc_info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return (kind,)
    return kind, trace.tb_frame.f_code.co_filename, trace.tb_lineno
