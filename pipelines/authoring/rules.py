"""Reads from pydantic's validator of a type what decides, besides the type, whether a value is accepted.

The contract contains what it can express, such as bounds and lengths. Of everything else, such as the author's own
validators, it contains texts with a digest of the code, so that a comparison sees that they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import pydantic

from pipelines.authoring.code_digests import PLAIN, PYDANTIC, code_of, package_of
from wire.documents.canonical_types import RUST

_BOUNDS: Final = {"ge": "minimum", "gt": "minimumExclusive", "le": "maximum", "lt": "maximumExclusive"}
_LENGTHS: Final = {"min_length": "minLength", "max_length": "maxLength"}
_ITEMS: Final = {"min_length": "minItems", "max_length": "maxItems"}
_NUMBERS: Final = ("int", "float", "decimal")
_LISTS: Final = ("list", "tuple")
_TRANSFORMS: Final = ("strip_whitespace", "to_lower", "to_upper", "regex_engine")
_IRRELEVANT: Final = frozenset(
    {"type", "ref", "metadata", "serialization", "strict", "allow_inf_nan", "fail_fast", "cls", "members", "sub_type"}
)
"""What no JSON value depends on. Every value is validated strictly, and no JSON number is infinite."""
_INNER: Final = ("items_schema", "keys_schema", "values_schema", "variadic_item_index")
_CONFIG: Final = (
    *("str_min_length", "str_max_length", "str_strip_whitespace", "str_to_lower", "str_to_upper"),
    *("coerce_numbers_to_str", "regex_engine"),
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
        return [code_of(each, self._schema.get("cls")) for each in self._functions]

    def _bare(self, schema: Schema) -> Schema:
        """Return the validator behind references, defaults and the author's functions, which are noted."""
        while True:
            kind = schema["type"]
            if kind == "definitions":
                self._definitions.update({each["ref"]: each for each in schema["definitions"]})
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
        found: dict[str, tuple[str, Any]] = {}
        if kind in _NUMBERS:
            for name, member in _BOUNDS.items():
                if name in schema and (bound := _bound(kind, schema[name])) is not None:
                    found[member] = (name, bound)
        lengths = _LENGTHS if kind == "str" else _ITEMS if kind in _LISTS else {}
        if not any(schema.get(name) for name in _TRANSFORMS):
            found |= {member: (name, schema[name]) for name, member in lengths.items() if schema.get(name) is not None}
            if kind == "str" and isinstance(schema.get("pattern"), str):
                found |= {"pattern": ("pattern", schema["pattern"]), "patternSyntax": ("pattern", RUST)}
        return found

    @property
    def others(self) -> list[str]:
        """What decides besides and the contract cannot express, down to the classes inside."""
        expressed = {name for name, _ in self._expressed().values()}
        found = self._code
        if self._schema["type"] in _CLASSES:
            return found
        known = expressed | _IRRELEVANT | {*_INNER}
        rest = {name: value for name, value in self._schema.items() if name not in known}
        found += [_text(name, value) for name, value in rest.items() if not _is_default(name, value)]
        keys = self._within("keys_schema")
        if keys is not None:
            found += [f"key {rule}" for rule in keys.others + [_text(*each) for each in keys.constraints.items()]]
        if (item := self.item) is not None:
            found += item.others
        return sorted(set(found))

    @property
    def others_of_class(self) -> list[str]:
        """What the code and the configuration of a class decide about its values, besides those of its fields."""
        schema = self._schema
        found = list[str]()
        while schema["type"] in _CLASSES:
            cls, config = schema["cls"], schema.get("config") or {}
            found += [_text(name, config[name]) for name in _CONFIG if config.get(name)]
            if schema.get("post_init"):
                function = getattr(cls, "__post_init__" if schema["type"] == "dataclass" else "model_post_init")
                if package_of(function) != PYDANTIC or function.__closure__:  # not for private attributes alone
                    found.append(code_of(function, cls))
            if schema.get("custom_init"):
                found.append(code_of(cls.__init__, cls))
            schema = self._bare(schema["schema"])
        return sorted({*self._code, *found})

    @property
    def fields(self) -> dict[str, Rules]:
        """The rules of the fields of a class, by their names in Python."""
        schema = self._schema
        while schema["type"] in _CLASSES:
            schema = self._bare(schema["schema"])
        fields = schema.get("fields", {})
        named = fields.items() if isinstance(fields, Mapping) else ((each["name"], each) for each in fields)
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
