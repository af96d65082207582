"""Says in which file and line of the author something is defined, ``orders.py:12``, and how a function is called."""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import os
import re
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from wire.log_lines import relative

_OWN: Final = str(Path(__file__).parent.parent) + os.sep
_BETWEEN: Final = (_OWN, contextlib.__file__)
_DEF: Final = re.compile(r"\s*(async\s+)?def\s")
_MOST_DECORATORS: Final = 50


def of_function(function: Any) -> str:
    """Return the place of the ``def`` of a function, or of a lambda. Empty for what has no Python code."""
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    if code is None:
        return ""
    first: int = code.co_firstlineno  # of the first decorator
    linecache.checkcache(code.co_filename)
    lines = range(first, first + _MOST_DECORATORS)
    is_named = code.co_name != "<lambda>"
    line = next(
        (
            line_number
            for line_number in lines
            if is_named and _DEF.match(linecache.getline(code.co_filename, line_number))
        ),
        first,
    )
    return _place(code.co_filename, line)


def of_class(cls: type, member: str = "") -> str:
    """Return the place of a class, or of the annotation of one of its members. Empty if there is no source."""
    owner = next((ancestor for ancestor in cls.__mro__ if member in inspect.get_annotations(ancestor)), cls)
    file = getattr(sys.modules.get(owner.__module__), "__file__", None)
    if not file:
        return ""
    linecache.checkcache(file)
    lines = _members_of("".join(linecache.getlines(file))).get(owner.__qualname__, {})
    line = lines.get(member) or lines.get("")
    return _place(file, line) if line else ""


@lru_cache(maxsize=32)
def _members_of(source: str) -> dict[str, dict[str, int]]:
    """Return the lines of the members of each class of a module, by its qualified name. The line of the class is ""."""
    try:
        rest = [("", node) for node in ast.parse(source).body]
    except (SyntaxError, ValueError):
        return {}
    lines: dict[str, dict[str, int]] = {}
    for prefix, node in rest:
        if isinstance(node, ast.ClassDef):
            name = f"{prefix}{node.name}"
            lines[name] = {"": node.lineno}
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    lines[name][statement.target.id] = statement.lineno
            rest += [(f"{name}.", statement) for statement in node.body]
    return lines


def author_frame() -> FrameType:
    """Return the frame of the code that called this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_BETWEEN) and frame.f_back is not None:
        frame = frame.f_back
    return frame or sys._getframe(1)


def of_frame(frame: FrameType) -> str:
    return _place(frame.f_code.co_filename, frame.f_lineno)


def of_stack(frame: FrameType | None) -> str:
    """Return where the author's code is in the stack of a running thread. Empty if it is not there."""
    while frame is not None and not _is_author(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else of_frame(frame)


def of_exception(error: BaseException) -> str:
    """Return where the author's code raised an error: not in this package, and not in an import or a library."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return _place(error.filename, error.lineno)
    frames = [_place(file, line) for file, line in _raising(error.__traceback__) if _is_author(file)]
    return frames[-1] if frames else ""


def _raising(trace: TracebackType | None) -> list[tuple[str, int]]:
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]


def _is_author(file: str) -> bool:
    foreign = ("<", _OWN, str(Path(inspect.__file__).parent) + os.sep)
    return not file.startswith(foreign) and "site-packages" not in file


def _place(file: str, line: int) -> str:
    return f"{relative(file)}:{line}"


def importable(module: str, qualname: str) -> Any:
    """Return the object at ``module.qualname`` in the imported modules, or None."""
    value: Any = sys.modules.get(module)
    for part in qualname.split("."):
        value = getattr(value, part, None)
    return value


def humanised(function_name: str) -> str:
    """Return a step's name for a function: ``Parse file`` for ``parse_file``."""
    words = " ".join(function_name.replace("_", " ").split())
    return words[:1].upper() + words[1:]
