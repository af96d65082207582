"""Checks JSON values against the canonical types of a contract (wire protocol A.1.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from wire.documents.json_reader import shown

MAX_MISMATCHES = 100
MAX_DECIMAL_EXPONENT = 6144
"""The largest absolute exponent of decimals in strings: that of IEEE 754 decimal128."""
_MAX_DEPTH = 64
_OPERATORS = frozenset(".^$*+?{}[]()\\")

Mismatch = tuple[str, str]
"""The path inside the value, such as `.payments[3].amount` (empty for the value itself), and the rule that it
breaks."""


# --- values ---------------------------------------------------------------------------------------


def mismatches(
    canonical_types: Mapping[str, Any], type_id: str, value: Any, *, shown: Set[str] | None = None
) -> list[Mismatch]:
    """Return the places where `value` does not match the type, at most MAX_MISMATCHES.

    `type_id` is the name of an entry of `canonical_types`, its definition's id, or its runtime class. A union value is
    an object with one member, which is named like the variant.

    What cannot be checked is accepted: types without an entry, unknown kinds and scalars, values below 64 nested types,
    and a wrapper's `format` and `pattern`, which are in another platform's dialect and have no bound on their cost. A
    pattern that is only a choice of literals is checked. Never raises on a JSON value.

    With `shown`, paths contain nothing of the value but its places in arrays: a name that the type does not declare is
    `{}`, unless it is one of `shown`.
    """
    checker = Checker(canonical_types, shown)
    found: list[Mismatch] = []
    for mismatch in checker.named(type_id, value, "", 0):
        found.append(mismatch)
        if len(found) == MAX_MISMATCHES:
            break
    return found


class Checker:
    """The types of one contract. The paths and rules that its methods yield are those of `mismatches`."""

    def __init__(self, canonical_types: Mapping[str, Any], shown: Set[str] | None = None) -> None:
        self._shown = shown
        self._definitions: dict[str, Mapping[str, Any]] = {}
        entries = [(name, entry) for name, entry in canonical_types.items() if isinstance(entry, Mapping)]
        for name, entry in entries:
            if isinstance(definition := entry.get("definition"), Mapping):
                self._definitions[name] = definition
        for _, entry in entries:
            if isinstance(definition := entry.get("definition"), Mapping):
                for other in (definition.get("id"), entry.get("runtimeClass")):
                    if isinstance(other, str):
                        self._definitions.setdefault(other, definition)

    def definition(self, type_id: str) -> Mapping[str, Any] | None:
        """Return the definition of a named type; None if the contract has none."""
        return self._definitions.get(type_id)

    def accepts(self, expression: Any, value: Any) -> bool:
        """Return True if `mismatches` finds nothing wrong with a value of this type expression, or type id."""
        return next(self._expression(expression, value, "", 0), None) is None

    def named(self, type_id: str, value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        definition = self._definitions.get(type_id)
        if definition is None or depth > _MAX_DEPTH:
            return
        kind = definition.get("kind")
        if kind == "record":
            yield from self._record(definition, value, path, depth)
        elif kind == "wrapper":
            yield from self._wrapper(definition, value, path, depth)
        elif kind == "alias":
            yield from self._expression(definition.get("target"), value, path, depth + 1)
        elif kind == "union":
            yield from self._union(definition, value, path, depth)

    def _expression(self, expression: Any, value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        if isinstance(expression, str):
            yield from self.named(expression, value, path, depth)
            return
        if not isinstance(expression, Mapping):
            return
        kind, type_id = expression.get("kind"), expression.get("id")
        if kind == "named" and isinstance(type_id, str):
            yield from self.named(type_id, value, path, depth)
        elif kind == "scalar" and isinstance(type_id, str):
            rule = _scalar_rule(type_id, value)
            if rule:
                yield path, rule
        elif kind == "map":
            yield from self._map(expression, value, path, depth)

    def _record(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        fields = named_objects(definition.get("fields"), "name")
        if fields is None:
            return
        if not isinstance(value, Mapping):
            yield path, "must be an object"
            return
        for name, field in fields.items():
            here = _member(path, name)
            member = value.get(name)
            if member is None:
                if field.get("optional") is not True:
                    yield here, "is required"
            elif field.get("repeated") is True:
                yield from self._repeated(field.get("type"), member, here, depth)
            else:
                yield from self._expression(field.get("type"), member, here, depth + 1)
        for name in value:
            if name not in fields:
                yield self._undeclared(path, name), "is not a member of the type"

    def _repeated(self, expression: Any, value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        if not isinstance(value, list):
            yield path, "must be an array"
            return
        for index, item in enumerate(value):
            yield from self._expression(expression, item, f"{path}[{index}]", depth + 1)

    def _map(self, expression: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        if not isinstance(value, Mapping):
            yield path, "must be an object"
            return
        key_type = expression.get("key")
        scalar = key_type.get("id") if isinstance(key_type, Mapping) else key_type
        for key, member in value.items():
            here = self._undeclared(path, key)
            if isinstance(scalar, str) and scalar in TEXTS and (rule := _scalar_rule(scalar, key)):
                yield here, f"the key {rule}"
            yield from self._expression(expression.get("value"), member, here, depth + 1)

    def _undeclared(self, path: str, name: str) -> str:
        """Return the path of a member whose name comes from the value."""
        return _member(path, name) if self._shown is None or name in self._shown else f"{path}{{}}"

    def _union(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        variants = named_objects(definition.get("variants"), "discriminator")
        if variants is None:
            return
        name = next(iter(value)) if isinstance(value, Mapping) and len(value) == 1 else None
        if name not in variants:
            yield path, shown(f"must be an object of one member, which is one of: {', '.join(variants)}")
            return
        yield from self._expression(variants[name].get("payload"), value[name], _member(path, name), depth + 1)

    def _wrapper(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        wrapped = list(self._expression(definition.get("wraps"), value, path, depth + 1))
        yield from wrapped
        if wrapped:
            return
        if isinstance(value, str):
            yield from _text_rules(definition, value, path)
        number = number_of(value)
        if number is not None:
            yield from _bound_rules(definition, number, path)


def declared_names(canonical_types: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of all members of records in these types."""
    entries = [entry.get("definition") for entry in canonical_types.values() if isinstance(entry, Mapping)]
    records = [named_objects(each.get("fields"), "name") for each in entries if isinstance(each, Mapping)]
    return frozenset(name for fields in records for name in fields or ())


def named_objects(items: Any, name: str) -> dict[str, Mapping[str, Any]] | None:
    """Return the objects of a definition's list by their name; None if the definition has an unknown form."""
    if not isinstance(items, list):
        return None
    named = {}
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get(name), str):
            return None
        named[item[name]] = item
    return named


def _member(path: str, name: str) -> str:
    return f"{path}.{shown(name)}"


# --- scalars and bounds ---------------------------------------------------------------------------


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _reads(read: Callable[[str], Any]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            return isinstance(value, str) and bool(read(value) is not None)
        except (ValueError, InvalidOperation):
            return False

    return check


def _decimal(text: str) -> Decimal | None:
    """Return a finite decimal whose exponent is bounded, so that arithmetic is cheap; None for all other texts."""
    number = Decimal(text)
    return number if number.is_finite() and abs(number.adjusted()) <= MAX_DECIMAL_EXPONENT else None


SCALARS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "string": (lambda value: isinstance(value, str), "must be a string"),
    "integer": (_is_integer, "must be an integer"),
    "number": (lambda value: _is_integer(value) or isinstance(value, float), "must be a number"),
    "boolean": (lambda value: isinstance(value, bool), "must be true or false"),
    "decimal": (_reads(_decimal), "must be a decimal number in a string"),
    "date": (_reads(date.fromisoformat), "must be an ISO 8601 date in a string"),
    "datetime": (_reads(datetime.fromisoformat), "must be an ISO 8601 date and time in a string"),
    "uuid": (_reads(UUID), "must be a UUID in a string"),
}
TEXTS = frozenset({"string", "decimal", "date", "datetime", "uuid"})
"""The scalars whose values are strings in JSON."""


def _scalar_rule(type_id: str, value: Any) -> str | None:
    """Return the rule that `value` breaks; `json` and unknown scalars have none."""
    if type_id not in SCALARS:
        return None
    holds, rule = SCALARS[type_id]
    return None if holds(value) else rule


def _text_rules(definition: Mapping[str, Any], value: str, path: str) -> Iterator[Mismatch]:
    choices = choices_of(definition.get("pattern"))
    if choices is not None and value not in choices:
        yield path, shown(f"must be one of: {', '.join(choices)}")
    shortest: Any = definition.get("minLength")
    longest: Any = definition.get("maxLength")
    if _is_integer(shortest) and len(value) < shortest:
        yield path, f"must have at least {shortest} characters"
    if _is_integer(longest) and len(value) > longest:
        yield path, f"must have at most {longest} characters"


def choices_of(pattern: Any) -> list[str] | None:
    """Return the literals of a pattern that is only a choice, such as `^(?:a|b)$`; None for other patterns."""
    if not (isinstance(pattern, str) and pattern.startswith("^(?:") and pattern.endswith(")$")):
        return None
    choices = [""]
    for part in re.findall(r"\\.|.", pattern[4:-2], flags=re.DOTALL):
        if part == "|":
            choices.append("")
        elif part in _OPERATORS or (len(part) == 2 and part[1].isalnum()):
            return None
        else:
            choices[-1] += part[-1]
    return choices


def _bound_rules(definition: Mapping[str, Any], number: Decimal, path: str) -> Iterator[Mismatch]:
    """Yield the bounds that `number` breaks. An exclusive bound is a number, or a flag on the inclusive one."""
    for name, sign, inclusive, exclusive in (
        ("minimum", 1, "at least", "greater than"),
        ("maximum", -1, "at most", "less than"),
    ):
        strict = definition.get(f"{name}Exclusive")
        bound, strict_bound = number_of(definition.get(name)), number_of(strict)
        if strict is True:
            bound, strict_bound = None, bound
        if bound is not None and sign * number < sign * bound:
            yield path, f"must be {inclusive} {bound}"
        if strict_bound is not None and sign * number <= sign * strict_bound:
            yield path, f"must be {exclusive} {strict_bound}"


def number_of(value: Any) -> Decimal | None:
    """Return a JSON number, or the decimal in a string; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return _decimal(str(value))
    except (ValueError, InvalidOperation):
        return None
