"""Reads from pydantic's validator of a type what decides, besides the type, whether a value is accepted.

The contract contains what it can express, such as bounds and lengths. Of everything else, such as the author's own
validators, it contains a digest.
"""

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

import pydantic

from wire.documents.canonical_types import RUST

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
            yield from sorted("\0".join(_Texts(self._package, self._seen).of(item)) for item in value)
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
        for name, value in sorted(used, key=lambda pair: pair[0]):
            yield name
            yield from self.of(value, owner)

    def _is_followed(self, value: Any) -> bool:
        return isinstance(value, _DATA) or self._is_own(value) or self._is_own(type(value))

    def _is_own(self, value: Any) -> bool:
        return package_of(value) == self._package

    def _members(self, space: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
        """Return what code with these names may use of a module, of a class, or of the class of an object."""
        if isinstance(space, ModuleType):
            names_here = vars(space) if space.__name__.partition(".")[0] == self._package else {}
            yield from ((name, names_here[name]) for name in names & names_here.keys())
            return
        for cls in (space if isinstance(space, type) else type(space)).__mro__:
            if self._is_own(cls):
                members = names & vars(cls).keys() - _defaults(cls)
                yield from ((name, getattr(vars(cls)[name], "__func__", vars(cls)[name])) for name in members)


def _defaults(cls: type) -> set[str]:
    """Return the names of a dataclass whose values in the class are only defaults of its fields."""
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()


def _names(code: CodeType) -> set[str]:
    """Return the names of globals and members that the code and the functions inside of it use."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def package_of(value: Any) -> str:
    return str(getattr(value, "__module__", "")).partition(".")[0]


_BOUNDS: Final = {"ge": "minimum", "gt": "minimumExclusive", "le": "maximum", "lt": "maximumExclusive"}
_LENGTHS: Final = {"min_length": "minLength", "max_length": "maxLength"}
_ITEMS: Final = {"min_length": "minItems", "max_length": "maxItems"}
_NUMBERS: Final = ("int", "float", "decimal")
_LISTS: Final = ("list", "tuple")
_TRANSFORMS: Final = ("strip_whitespace", "to_lower", "to_upper", "regex_engine")
_IRRELEVANT: Final = frozenset(
    {
        "choices",
        "discriminator",
        "expected",
        "from_attributes",
        "mode",
        "type",
        "ref",
        "metadata",
        "serialization",
        "strict",
        "allow_inf_nan",
        "fail_fast",
        "cls",
        "members",
        "sub_type",
    }
)
"""What no JSON value depends on. Every value is validated strictly, and no JSON number is infinite."""
_INNER: Final = ("items_schema", "keys_schema", "values_schema", "variadic_item_index")
_CONFIG: Final = (
    "str_min_length",
    "str_max_length",
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
    "coerce_numbers_to_str",
    "regex_engine",
)
_CLASSES: Final = ("model", "dataclass")

Schema = Mapping[str, Any]


class Rules:
    """The rules of one validator: of a field, of an item or of a class."""

    def __init__(self, schema: Schema, definitions: Mapping[str, Schema]) -> None:
        self._definitions = dict(definitions)
        self._functions: list[Any] = []
        self._schema = self._bare(schema)

    @classmethod
    def of(cls, hint: Any) -> Rules | None:
        """Return the rules of a type; None if pydantic rejects it."""
        try:
            schema = dict(pydantic.TypeAdapter(hint).core_schema)  # it may not be built before it is read
        except (pydantic.PydanticUserError, NameError):
            return None
        return cls(schema, {})

    @property
    def _code(self) -> list[str]:
        """The digests of the author's functions around the validator, with what they use of the class of the value."""
        return [code_of(function, self._schema.get("cls")) for function in self._functions]

    def _bare(self, schema: Schema) -> Schema:
        """Return the validator behind references, defaults and the author's functions, which are noted."""
        while True:
            kind = schema["type"]
            if kind == "definitions":
                self._definitions.update({definition["ref"]: definition for definition in schema["definitions"]})
            elif kind.startswith("function-"):
                self._functions.append(schema["function"]["function"])
                if "schema" not in schema:
                    return {"type": kind}
            elif kind == "definition-ref":
                schema = self._definitions[schema["schema_ref"]]
                continue
            elif kind == "json-or-python":
                schema = schema["json_schema"]
                continue
            elif kind == "lax-or-strict":
                schema = schema["strict_schema"]
                continue
            elif kind not in ("default", "nullable"):
                return schema
            schema = schema["schema"]

    def _within(self, member: str) -> Rules | None:
        inner = self._schema.get(member)
        if isinstance(inner, list):  # of a tuple
            inner = inner[0]
        return Rules(inner, self._definitions) if inner else None

    @property
    def item(self) -> Rules | None:
        """The rules of the items of a list or tuple, or of the values of a map."""
        return self._within("items_schema") or self._within("values_schema")

    @property
    def constraints(self) -> dict[str, Any]:
        """The members of a canonical type, or of a field that is a list, that say which values are accepted."""
        return {name: value for name, (_, value) in self._expressed().items()}

    def _expressed(self) -> dict[str, tuple[str, Any]]:
        """Return the members of the contract, each with that of pydantic and the value."""
        kind, schema = self._schema["type"], self._schema
        fields: dict[str, tuple[str, Any]] = {}
        if kind in _NUMBERS:
            for name, member in _BOUNDS.items():
                if name in schema and (bound := _bound(kind, schema[name])) is not None:
                    fields[member] = (name, bound)
        lengths = _LENGTHS if kind == "str" else _ITEMS if kind in _LISTS else {}
        if not any(schema.get(name) for name in _TRANSFORMS):
            fields |= {member: (name, schema[name]) for name, member in lengths.items() if schema.get(name) is not None}
            if kind == "str" and isinstance(schema.get("pattern"), str):
                fields |= {"pattern": ("pattern", schema["pattern"]), "patternSyntax": ("pattern", RUST)}
        return fields

    @property
    def others(self) -> list[str]:
        """What decides besides and the contract cannot express, down to the classes inside."""
        expressed = {name for name, _ in self._expressed().values()}
        texts = self._code
        if self._schema["type"] in _CLASSES:
            return texts
        known = expressed | _IRRELEVANT | {*_INNER}
        rest = {name: value for name, value in self._schema.items() if name not in known}
        texts += [_text(name, value) for name, value in rest.items() if not _is_default(name, value)]
        keys = self._within("keys_schema")
        if keys is not None:
            texts += [
                f"key {rule}" for rule in keys.others + [_text(*constraint) for constraint in keys.constraints.items()]
            ]
        if (item := self.item) is not None:
            texts += item.others
        return sorted(set(texts))

    @property
    def others_of_class(self) -> list[str]:
        """What the code and the configuration of a class decide about its values, besides those of its fields."""
        schema = self._schema
        texts = list[str]()
        while schema["type"] in _CLASSES:
            cls, config = schema["cls"], schema.get("config") or {}
            texts += [_text(name, config[name]) for name in _CONFIG if config.get(name)]
            if schema.get("post_init"):
                function = getattr(cls, "__post_init__" if schema["type"] == "dataclass" else "model_post_init")
                if package_of(function) != PYDANTIC or function.__closure__:  # not for private attributes alone
                    texts.append(code_of(function, cls))
            if schema.get("custom_init"):
                texts.append(code_of(cls.__init__, cls))
            schema = self._bare(schema["schema"])
        return sorted({*self._code, *texts})

    @property
    def fields(self) -> dict[str, Rules]:
        """The rules of the fields of a class, by their names in Python."""
        schema = self._schema
        while schema["type"] in _CLASSES:
            schema = self._bare(schema["schema"])
        fields = schema.get("fields", {})
        named = fields.items() if isinstance(fields, Mapping) else ((field["name"], field) for field in fields)
        return {name: Rules(field["schema"], self._definitions) for name, field in named}


def _bound(kind: str, value: Any) -> Any | None:
    """Return a bound as JSON; None if it is not exact."""
    if kind == "decimal":
        return str(value) if isinstance(value, int | Decimal) and Decimal(value).is_finite() else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and Decimal(value).is_finite() else None


def _is_default(name: str, value: Any) -> bool:
    return value is None or value is False or (name, value) == ("microseconds_precision", "truncate")


def _text(name: str, value: Any) -> str:
    if callable(value):
        return f"{name} {code_of(value)}"
    return f"{name} {value!r}" if isinstance(value, PLAIN) else f"{name} {type(value).__qualname__}"
