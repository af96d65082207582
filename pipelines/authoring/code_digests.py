"""Digests the code that decides whether a value is accepted, with the code and the constants that it uses."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

PYDANTIC: Final = "pydantic"
PLAIN: Final = (bool, int, float, str, Decimal, date, datetime, timedelta, type(None))
_DATA: Final = (*PLAIN, re.Pattern, list, tuple, dict, set, frozenset, partial)
_FOREIGN: Final = (PYDANTIC, "functools", "builtins")


def code_of(function: Any, owner: Any = None) -> str:
    """Return a text that differs if the code of a function differs, or what it uses of the same package.

    ``owner`` is the class of the values that the function gets.
    """
    digest = hashlib.sha256("\0".join(_Texts(package_of(function)).of(function, owner)).encode()).hexdigest()
    return f"code {digest[:16]}"


class _Texts:
    """Describes functions, constants and objects by texts that are equal in every process with the same code."""

    def __init__(self, package: str, seen: Mapping[int, Any] | None = None) -> None:
        self._package = "" if package in _FOREIGN else package
        self._seen = dict(seen or {})

    def of(self, value: Any, owner: Any = None) -> Iterator[str]:
        """Return the texts of a value. An object of another package is described by its class and its fields alone."""
        if isinstance(value, PLAIN):
            yield repr(value)
        elif isinstance(value, MethodType):
            yield from self.of([value.__func__, value.__self__], value.__self__)
        elif isinstance(value, set | frozenset):
            yield from sorted("\0".join(_Texts(self._package, self._seen).of(each)) for each in value)
        elif id(value) not in self._seen:
            self._seen[id(value)] = value  # so that no other object gets its id
            yield from self._new(value, owner)

    def _new(self, value: Any, owner: Any) -> Iterator[str]:
        parts: list[Any] = []
        if isinstance(value, FunctionType):
            yield from self._function(value, owner)
        elif isinstance(value, type | ModuleType):
            yield value.__name__
        elif isinstance(value, list | tuple):
            yield f"{len(value)} items"
            parts = list(value)
        elif isinstance(value, Mapping):
            parts = [list(item) for item in value.items()]
        elif isinstance(value, re.Pattern):
            parts = [value.pattern, value.flags]
        elif isinstance(value, Enum):
            parts = [value.value]
        elif isinstance(value, partial):
            parts = [value.func, value.args, value.keywords]
        elif isinstance(value, property):
            parts = [value.fget]
        elif hasattr(value, "__wrapped__"):
            parts = [value.__wrapped__]
        else:
            yield f"{type(value).__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
            owner = value
            if dataclasses.is_dataclass(value):
                parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
            elif self._is_own(type(value)):
                parts = [*sorted(getattr(value, "__dict__", {}).items()), *self._members(value, {"__call__"})]
        for part in parts:
            yield from self.of(part, owner)

    def _function(self, function: FunctionType, owner: Any) -> Iterator[str]:
        code, is_pydantic = function.__code__, package_of(function) == PYDANTIC
        if not is_pydantic:
            self._package = self._package or package_of(function)
        try:
            source = function.__qualname__ if is_pydantic else inspect.getsource(code)
            yield textwrap.dedent(source).strip()
        except (OSError, TypeError):
            yield repr((code.co_code, code.co_names))
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        free = {name: cell.cell_contents for name, cell in cells if cell != CellType()}
        names, known = _names(code), {} if is_pydantic else function.__globals__
        shared = {name: known[name] for name in sorted(names & known.keys())}
        used = [*free.items(), *((name, value) for name, value in shared.items() if self._is_followed(value))]
        for space in (owner, *free.values(), *shared.values()):
            used += self._members(space, names)
        if function.__defaults__ or function.__kwdefaults__:
            yield from self.of([function.__defaults__, function.__kwdefaults__])
        for name, value in sorted(used, key=lambda each: each[0]):
            yield name
            yield from self.of(value, owner)

    def _is_followed(self, value: Any) -> bool:
        return isinstance(value, _DATA) or self._is_own(value) or self._is_own(type(value))

    def _is_own(self, value: Any) -> bool:
        return package_of(value) == self._package

    def _members(self, space: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
        """Return what code with these names may use of a module, of a class, or of the class of an object."""
        if isinstance(space, ModuleType):
            found = vars(space) if space.__name__.partition(".")[0] == self._package else {}
            yield from ((name, found[name]) for name in names & found.keys())
            return
        for cls in (space if isinstance(space, type) else type(space)).__mro__:
            if self._is_own(cls):
                own = names & vars(cls).keys() - _defaults(cls)
                yield from ((name, getattr(vars(cls)[name], "__func__", vars(cls)[name])) for name in own)


def _defaults(cls: type) -> set[str]:
    """Return the names of a dataclass whose values in the class are only defaults of its fields."""
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()


def _names(code: CodeType) -> set[str]:
    """Return the names of globals and members that the code and the functions inside of it use."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def package_of(value: Any) -> str:
    """Return the top-level package of a function, a class or an object."""
    return str(getattr(value, "__module__", "")).partition(".")[0]
