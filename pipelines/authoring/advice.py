"""Says what an author writes instead of a type that a contract cannot describe."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections import abc
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import pydantic

_DEFAULT: Final = (
    "use a dataclass, a pydantic model, an Enum, Literal, or one of str, int, float, bool, Decimal, date, datetime, "
    "timedelta, UUID"
)
_SETS: Final = (set, frozenset, abc.Set, abc.MutableSet)
_BYTES: Final = (bytes, bytearray, memoryview)
_ASYNC: Final = (abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator, abc.Awaitable, abc.Coroutine)
_SCALARS: Final = (str, int, Decimal, date, timedelta, UUID, Enum)
"""Also their subclasses: a bool is an int, and a datetime is a date."""
_PYDANTIC: Final = "pydantic"
_ARRAYS: Final = {
    "numpy": "use float for a number, and list[float] for an array: array.tolist()",
    "pandas": "use list[T] of a dataclass T: frame.to_dict('records') has its rows",
    "polars": "use list[T] of a dataclass T: frame.to_dicts() has its rows",
}


def shown(hint: Any) -> str:
    """Return the hint as an author would write it."""
    if hint is type(None):
        return "None"
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__qualname__ if hint.__module__ == "builtins" else f"{hint.__module__}.{hint.__qualname__}"
    return str(hint).replace("typing.", "").replace("collections.abc.", "")


def advice(hint: Any) -> str:
    """Return what to write instead of a type that is not supported."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is None or origin is type(None):
        return "None carries no value; return the step's input, or a dataclass with its result"
    if origin in _SETS:
        return f"use list[{shown(arguments[0]) if arguments else 'T'}], and make the set in the step: set(values)"
    if origin in _BYTES:
        return "use str, with base64.b64encode(data).decode(), or store the bytes elsewhere and pass their address"
    if origin in _ASYNC:
        return f"use Iterator[{shown(arguments[0]) if arguments else 'T'}]; only async def steps take async streams"
    if isinstance(hint, typing.TypeVar):
        return "name the type instead of a type variable"
    if origin is typing.Literal:
        return "use Literal with texts only, or with whole numbers only"
    if origin in (typing.Union, types.UnionType):
        return _union_advice(hint)
    return _class_advice(hint) if isinstance(hint, type) else _DEFAULT


def _union_advice(hint: Any) -> str:
    return (
        'give each of its classes a field by which they differ, such as kind: Literal["card"]; besides classes, use at '
        "most one type that is a text in JSON, one number, bool, and no list"
    )


def _class_advice(cls: type) -> str:
    root = cls.__module__.partition(".")[0]
    if cls is time:
        return "use str, such as '12:30', or a datetime"
    if typing.is_typeddict(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        return f"write it as a dataclass: {_as_dataclass(cls)}"
    if issubclass(cls, Enum):
        return "give all members values that are texts, or all whole numbers"
    if issubclass(cls, PurePath):
        return "use str: str(path)"
    if root in _ARRAYS:
        return _ARRAYS[root]
    if issubclass(cls, pydantic.RootModel):
        return "use the type in the RootModel, or a BaseModel with one field"
    if root == _PYDANTIC and "Secret" in cls.__name__:
        return "values are stored and shown; read the secret in the step, from the environment of the worker"
    if root == _PYDANTIC:
        return "use str, with Annotated[str, Field(pattern=...)] if texts must have a form"
    if root not in ("builtins", "collections", "datetime", "typing") and not inspect.isabstract(cls):
        return f"write @dataclass in front of class {cls.__name__}, and annotate its fields"
    return _DEFAULT


def _as_dataclass(cls: type) -> str:
    hints = inspect.get_annotations(cls)
    fields = "; ".join(f"{name}: {hint if isinstance(hint, str) else shown(hint)}" for name, hint in hints.items())
    return f"@dataclass class {cls.__name__}: {fields or '...'}"


def default_problem(hint: Any, kind: Any, default: Any, *, nullable: bool) -> str:
    """Return why values that have this default cannot be passed between steps; empty if they can.

    ``kind`` is the type that ``hint`` stands for.
    """
    if default is dataclasses.MISSING:
        return ""
    if default is None and not nullable:
        return f"has the default None, which is not of its type; write {shown(hint)} | None = None"
    if isinstance(default, float) and not (float("-inf") < default < float("inf")):
        return f"has the default {default}, which JSON does not have; write {shown(hint)} | None = None"
    if default is not None and not _is_of(default, kind):
        return f"has the default {repr(default)[:50]}, which is not of its type; give it one of type {shown(hint)}"
    return ""


def _is_of(default: Any, kind: Any) -> bool:
    """Return False if no value of a scalar type can be the default. An int is also a float."""
    if typing.get_origin(kind) is typing.Literal:
        return default in typing.get_args(kind)
    if kind is float:
        return isinstance(default, int | float)
    return not isinstance(kind, type) or not issubclass(kind, _SCALARS) or isinstance(default, kind)
