"""Describes why a transition failed, as bounded text that can be stored and shown.

Exceptions are the author's code: reading the text, the causes or the class of one may raise. No function here raises.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Final, TypeVar

from pipelines.errors import EventLoopBlocked, StepTimeout
from pipelines.step_policy import NO_POLICY, StepPolicy
from wire.log_lines import relative
from wire.masks import masked
from wire.messages.celery_messages import LONGEST_TRACEBACK, Failure

CODES: Final = {StepTimeout: "STEP_TIMEOUT", EventLoopBlocked: "EVENT_LOOP_BLOCKED"}
"""The codes of failures that the worker causes, by their classes."""
UNDECODABLE_PAYLOAD: Final = "UNDECODABLE_PAYLOAD"
INVALID_STEP_OUTPUT: Final = "INVALID_STEP_OUTPUT"
OUTPUT_TOO_LARGE: Final = "OUTPUT_TOO_LARGE"
LONGEST_MESSAGE: Final = 512
LONGEST_CLASS: Final = 100
MOST_FRAMES: Final = 50
UNNAMED: Final = "UNNAMED_EXCEPTION"

# Control characters except tab and newline, characters that reverse the direction of text, and lone surrogates.
_UNSHOWABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_OWN_FOLDER: Final = str(Path(__file__).parent) + os.sep
_T = TypeVar("_T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed, or a value was not of its type. The texts are clean and bounded.

    `step_index` is None if no step caused the failure; `traceback` is empty if there was no exception. It has the
    causes, no values of variables, and only its end if it is long. `frames` says where the exception was raised, as
    `file.py:12 in name`, without texts of it. Both name files relative to the folder from which they were imported, and
    leave out frames of this package. `error` is the exception of the author's code, for those who run a pipeline in
    their own process.
    """

    failure_class: str
    message: str
    retryable: bool
    step_index: int | None = None
    step_name: str = ""
    traceback: str = ""
    frames: tuple[str, ...] = ()
    error: BaseException | None = field(default=None, compare=False, repr=False)


def failed_by(
    error: BaseException, policy: StepPolicy = NO_POLICY, *, step_index: int | None = None, step_name: str = ""
) -> Failed:
    """Return the failure that describes `error`. `policy` is that of the step: see `StepPolicy.decisive`."""
    named, is_retryable = _safely((error, True), policy.decisive, error)
    text = _safely("its message cannot be shown", str, named)
    return Failed(
        cleaned(_safely(UNNAMED, _class_name, named), LONGEST_CLASS) or UNNAMED,
        message_of(step_name, cleaned(text, LONGEST_MESSAGE) or "no message"),
        is_retryable,
        step_index,
        step_name,
        _safely("", _traceback, error),
        _safely((), _frames, error),
    )


def message_of(step_name: str, text: str) -> str:
    """Return `text` with the name of the step in front, if there is one, truncated to LONGEST_MESSAGE characters."""
    return cleaned(f'step "{step_name}": {text}' if step_name else text, LONGEST_MESSAGE)


def cleaned(text: str, longest: int) -> str:
    """Return `text` truncated to `longest` characters, without secrets and what cannot be stored or shown."""
    return _safely("", _cleaned, text, longest)


def first_line(error: BaseException) -> str:
    text = cleaned(_safely("", str, error), LONGEST_MESSAGE)
    return text.partition("\n")[0] or cleaned(_safely(UNNAMED, _class_name, error), LONGEST_CLASS)


def warn(text: str, *arguments: object, extra: Mapping[str, object] | None = None) -> None:
    """Log a warning. An exception in one of the author's log handlers is ignored."""
    _safely(None, partial(log.warning, extra=extra), text, *arguments)


def inform(text: str, *arguments: object) -> None:
    """Log information. An exception in one of the author's log handlers is ignored."""
    _safely(None, log.info, text, *arguments)


def log_failure(execution_id: object, failed: Failed | Failure) -> None:
    """Log a failure: its class and where it was raised. Its message may contain a payload, so it is not logged."""
    frames = failed.frames if isinstance(failed, Failed) else ()
    extra = {"execution": execution_id, "errorClass": failed.failure_class, "frames": frames}
    if isinstance(failed, Failed) and failed.step_name:
        extra["step"] = failed.step_name
    warn("Execution %s failed with %s", execution_id, failed.failure_class, extra=extra)


def warn_of(error: BaseException, text: str, *arguments: object) -> None:
    """Log a warning with the class of an error and where it was raised."""
    failure = failed_by(error)
    warn(text, *arguments, extra={"errorClass": failure.failure_class, "frames": failure.frames})


def _safely(default: _T, function: Callable[..., _T], *arguments: Any) -> _T:
    try:
        return function(*arguments)
    except BaseException:
        return default


def _cleaned(text: str, longest: int) -> str:
    # Call the method of `str` itself, because a subclass may override it.
    shown = masked(str.__getitem__(text, slice(None)))[: longest + 1]
    plain = _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", shown)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def _class_name(error: BaseException) -> str:
    cls = type(error)
    for known, code in CODES.items():
        if cls is known:  # the class of an author may have a metaclass
            return code
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _traceback(error: BaseException) -> str:
    shown = traceback.TracebackException(type(error), error, error.__traceback__, limit=-MOST_FRAMES, compact=True)
    _name_files(shown)
    text = masked("".join(shown.format()).rstrip())
    return cleaned(text if len(text) <= LONGEST_TRACEBACK else "…" + text[1 - LONGEST_TRACEBACK :], LONGEST_TRACEBACK)


def _frames(error: BaseException) -> tuple[str, ...]:
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), limit=-MOST_FRAMES, lookup_lines=False
    )
    authored = [frame for frame in frames if not frame.filename.startswith(_OWN_FOLDER)]
    shown = (f"{relative(frame.filename)}:{frame.lineno} in {frame.name}" for frame in authored or frames)
    return tuple(cleaned(text, LONGEST_MESSAGE) for text in shown)


def show_authored_frames(error: BaseException) -> None:
    """Remove the frames of this package from the traceback of an error and of its causes, to raise it to its author."""
    rest: list[BaseException] = [error]
    visited: set[int] = set()
    while rest:
        seen = rest.pop()
        if id(seen) in visited:
            continue
        visited.add(id(seen))
        frames = []
        traceback_entry = seen.__traceback__
        while traceback_entry is not None:
            if not traceback_entry.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
                frames.append(traceback_entry)
            traceback_entry = traceback_entry.tb_next
        shown: TracebackType | None = None
        for frame in reversed(frames):
            shown = TracebackType(shown, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
        seen.__traceback__ = shown
        rest += [cause for cause in (seen.__cause__, seen.__context__) if cause is not None]


def stack_of(thread: int, *begin: CodeType) -> TracebackType | None:
    """Return the stack of a running thread in the form of a traceback, without the frames outside of `begin`."""
    stack: TracebackType | None = None
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code not in begin:
        stack = TracebackType(stack, frame, max(frame.f_lasti, 0), frame.f_lineno or 0)
        frame = frame.f_back
    return stack


def _name_files(shown: traceback.TracebackException) -> None:
    """Shorten the file names in `shown`, in its causes and in the members of a group."""
    rest, visited = [shown], set()
    while rest:
        part = rest.pop()
        if id(part) in visited:
            continue
        visited.add(id(part))
        authored = [frame for frame in part.stack if not frame.filename.startswith(_OWN_FOLDER)]
        part.stack[:] = authored or part.stack
        for frame in part.stack:
            frame.filename = relative(frame.filename)
        if getattr(part, "filename", None):  # the file of a SyntaxError
            part.filename = relative(part.filename)
        rest += [cause for cause in (part.__cause__, part.__context__, *(part.exceptions or ())) if cause is not None]


class Boundary:
    """Runs transitions so that none affects another. Safe to use from many threads."""

    def __init__(self) -> None:
        self._recursion_limit = sys.getrecursionlimit()

    def run(self, execution_id: object, attempt: Callable[[], _T], failure: Callable[[Failed], _T]) -> _T:
        """Return the result of `attempt`. If it raises any exception, return `failure` of that exception.

        A lowered recursion limit and `logging.disable` are undone. A raised recursion limit stays, because another
        step may need it now.
        """
        try:
            return attempt()
        except BaseException as error:
            self._restore()
            failed = failed_by(error)
            log_failure(execution_id, failed)
            return failure(failed)
        finally:
            self._restore()

    def _restore(self) -> None:
        if sys.getrecursionlimit() < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if logging.root.manager.disable:
            logging.disable(logging.NOTSET)
