"""Checks JSON values against the canonical types of a contract."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import islice
from typing import Any
from uuid import UUID

from pydantic_core import SchemaError, SchemaValidator, core_schema

from wire.documents.choices import choices_of, discriminator_of, forms_of, tags_of
from wire.documents.json_reader import DEEPEST, shown

MAX_MISMATCHES = 100
MAX_DECIMAL_EXPONENT = 6144
"""The largest absolute exponent of decimals in strings: that of IEEE 754 decimal128."""
MOST_PATTERNS = 20
"""How many patterns of one contract are checked."""
RUST = "rust"
"""The `patternSyntax` of patterns that pydantic runs."""

Mismatch = tuple[str, str]
"""The path inside the value, such as `.payments[3].amount` (empty for the value itself), and the rule that it
breaks."""


# --- values ---------------------------------------------------------------------------------------


def mismatches(
    canonical_types: Mapping[str, Any], type_id: str, value: Any, *, shown: Set[str] | None = None
) -> list[Mismatch]:
    """Return the places where `value` does not match the type, at most MAX_MISMATCHES.

    `type_id` is the name of an entry of `canonical_types`, its definition's id, or its runtime class. A union value is
    an object with one member, which is named like the variant. A value of a `choice` is one of its variants itself.

    Workers of `pipelines` use the same rules before pydantic reads a value, and pydantic accepts what they accept. What
    cannot be checked is accepted: types without an entry, unknown kinds and scalars, the `rules` of a pipeline's code,
    and a wrapper's `format` and `pattern`, which may be in another platform's dialect. A pattern that is only a choice
    of literals is checked, and so are the first MOST_PATTERNS whose `patternSyntax` is `rust`, because their cost is
    bounded. Never raises on a JSON value.

    With `shown`, paths contain nothing of the value but its places in arrays: a name that the type does not declare is
    `{}`, unless it is one of `shown`.
    """
    return list(islice(Checker(canonical_types, shown).check(type_id, value), MAX_MISMATCHES))


_Row = tuple[str, Mapping[str, Any], Callable[[Any], bool] | None, str]
"""A field of a record: its path inside the record, and the check and the rule of a scalar that is not repeated."""


class Checker:
    """The types of one contract. The paths and rules that its methods yield are those of `mismatches`."""

    def __init__(self, canonical_types: Mapping[str, Any], shown: Set[str] | None = None) -> None:
        self._shown = shown
        self._patterns = set[str]()
        self._prepared: dict[int, dict[str, _Row] | None] = {}
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
        return next(iter(self.check(expression, value)), None) is None

    def check(self, expression: Any, value: Any, path: str = "", depth: int = 0) -> Iterable[Mismatch]:
        """Return the mismatches of a value of this type expression, or type id. A level of JSON needs one frame."""
        if isinstance(expression, Mapping):
            kind, type_id = expression.get("kind"), expression.get("id")
            if kind == "map":
                return self._map(expression, value, path, depth)
            if kind == "scalar" and isinstance(type_id, str):
                rule = _scalar_rule(type_id, value)
                return ((path, rule),) if rule else ()
            expression = type_id if kind == "named" else None
        definition = self._definitions.get(expression) if isinstance(expression, str) else None
        if definition is None or depth > DEEPEST:
            return ()
        kind = definition.get("kind")
        if kind == "record":
            return self._record(definition, value, path, depth)
        if kind == "wrapper":
            return self._wrapper(definition, value, path, depth)
        if kind == "alias":
            return self.check(definition.get("target"), value, path, depth + 1)
        if kind == "choice":
            return self._choice(definition, value, path, depth)
        return self._union(definition, value, path, depth) if kind == "union" else ()

    def takes_null(self, field: Mapping[str, Any]) -> bool:
        """Return True if this field of a record may be null. `nullable` decides, and by default `optional`."""
        nullable = field.get("nullable")
        if isinstance(nullable, bool):
            return nullable
        is_any = field.get("repeated") is not True and self.scalar_of(field.get("type")) == "json"
        return is_any or field.get("optional") is True

    def scalar_of(self, expression: Any) -> str:
        """Return the scalar behind aliases and wrappers; an empty text for other types."""
        for _ in range(DEEPEST):
            if isinstance(expression, Mapping):
                if expression.get("kind") == "scalar":
                    return str(expression.get("id"))
                expression = expression.get("id")
            definition = self._definitions.get(expression) if isinstance(expression, str) else None
            if definition is None:
                break
            expression = definition.get("target", definition.get("wraps"))
        return ""

    def _record(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        rows = self._rows(definition)
        if rows is None:
            return
        if not isinstance(value, Mapping):
            yield path, "must be an object"
            return
        for name, (at, field, holds, rule) in rows.items():
            member = value.get(name)
            if member is None:
                optional = field.get("optional") is True
                if not (self.takes_null(field) if name in value else optional):
                    yield path + at, "must not be null" if optional else "is required"
            elif holds is not None:
                if not holds(member):
                    yield path + at, rule
            elif field.get("repeated") is True:
                yield from self._repeated(field, member, path + at, depth)
            else:
                yield from self.check(field.get("type"), member, path + at, depth + 1)
        for name in value:
            if name not in rows:
                yield self._undeclared(path, name), "is not a member of the type"

    def _rows(self, definition: Mapping[str, Any]) -> dict[str, _Row] | None:
        """Return the fields of a record by their names, prepared for checks; None for an unknown form."""
        key = id(definition)
        if key not in self._prepared:
            fields = named_objects(definition.get("fields"), "name")
            rows = None if fields is None else {name: _row(name, field) for name, field in fields.items()}
            self._prepared[key] = rows
        return self._prepared[key]

    def _repeated(self, field: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        if not isinstance(value, list):
            yield path, "must be an array"
            return
        fewest: Any = field.get("minItems")
        most: Any = field.get("maxItems")
        if _is_integer(fewest) and len(value) < fewest:
            yield path, f"must have at least {fewest} items"
        if _is_integer(most) and len(value) > most:
            yield path, f"must have at most {most} items"
        for index, item in enumerate(value):
            yield from self.check(field.get("type"), item, f"{path}[{index}]", depth + 1)

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
            yield from self.check(expression.get("value"), member, here, depth + 1)

    def _undeclared(self, path: str, name: str) -> str:
        """Return the path of a member whose name comes from the value."""
        return member_path(path, name) if self._shown is None or name in self._shown else f"{path}{{}}"

    def _union(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        variants = named_objects(definition.get("variants"), "discriminator")
        if variants is None:
            return
        name = next(iter(value)) if isinstance(value, Mapping) and len(value) == 1 else None
        if name not in variants:
            yield path, shown(f"must be an object of one member, which is one of: {', '.join(variants)}")
            return
        yield from self.check(variants[name].get("payload"), value[name], member_path(path, name), depth + 1)

    def _choice(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        variants, tag = named_objects(definition.get("variants"), "discriminator"), definition.get("tag")
        if variants is None:
            return
        name = discriminator_of(tag, value)
        if name in variants:
            yield from self.check(variants[name].get("payload"), value, path, depth + 1)
            return
        tags = tags_of(variants)
        if isinstance(tag, str) and isinstance(value, Mapping) and tags:
            yield member_path(path, tag), shown(f"must be one of: {', '.join(tags)}")
        else:
            yield path, f"must be one of: {', '.join(forms_of(variants))}"

    def _wrapper(self, definition: Mapping[str, Any], value: Any, path: str, depth: int) -> Iterator[Mismatch]:
        wrapped = list(self.check(definition.get("wraps"), value, path, depth + 1))
        yield from wrapped
        if wrapped:
            return
        if isinstance(value, str):
            yield from _text_rules(definition, value, path, self._pattern(definition))
        if isinstance(value, int) and self.scalar_of(definition.get("wraps")) == "number":
            value = float(value)  # workers compare doubles
        allowed = definition.get("allowedValues")
        if _is_integer(value) and isinstance(allowed, list) and all(map(_is_integer, allowed)) and value not in allowed:
            yield path, f"must be one of: {', '.join(map(str, allowed))}"
        number = number_of(value)
        if number is not None:
            yield from _bound_rules(definition, number, path)

    def _pattern(self, definition: Mapping[str, Any]) -> Callable[[str], bool] | None:
        """Return the check of a pattern; None if its cost has no bound. Compiling one may take a tenth of a second."""
        pattern = definition.get("pattern")
        if definition.get("patternSyntax") != RUST or not isinstance(pattern, str) or choices_of(pattern) is not None:
            return None
        if len(self._patterns) < MOST_PATTERNS:
            self._patterns.add(pattern)
        return _matcher(pattern) if pattern in self._patterns else None


def declared_names(canonical_types: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of all members of records in these types."""
    entries = [entry.get("definition") for entry in canonical_types.values() if isinstance(entry, Mapping)]
    records = [named_objects(entry.get("fields"), "name") for entry in entries if isinstance(entry, Mapping)]
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


def _row(name: str, field: Mapping[str, Any]) -> _Row:
    expression: Any = field.get("type")
    is_scalar = isinstance(expression, Mapping) and expression.get("kind") == "scalar" and "repeated" not in field
    scalar = SCALARS.get(str(expression["id"])) if is_scalar and "id" in expression else None
    return f".{shown(name)}", field, *(scalar or (None, ""))


def member_path(path: str, name: str) -> str:
    """Return the path of a member of the value at `path`."""
    return f"{path}.{shown(name)}"


# --- scalars and bounds ---------------------------------------------------------------------------


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _reads(form: str, read: Callable[[str], Any]) -> Callable[[Any], bool]:
    """Return a check for strings that have the form and that `read` reads."""
    matches = re.compile(form, re.ASCII).fullmatch

    def check(value: Any) -> bool:
        try:
            return isinstance(value, str) and matches(value) is not None and read(value) is not None
        except (ValueError, InvalidOperation):
            return False

    return check


def _decimal(text: str) -> Decimal | None:
    """Return a finite decimal whose exponent is bounded, so that arithmetic is cheap; None for all other texts."""
    number = Decimal(text)
    return number if number.is_finite() and abs(number.adjusted()) <= MAX_DECIMAL_EXPONENT else None


def _is_double(value: Any) -> bool:
    try:
        return isinstance(value, float) or (_is_integer(value) and math.isfinite(float(value)))
    except OverflowError:
        return False


_DATE = r"\d{4}-\d\d-\d\d"
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?"
_DECIMAL = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_HEX = "[0-9A-Fa-f]"
_UUID = f"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"

SCALARS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "string": (lambda value: isinstance(value, str), "must be a string"),
    "integer": (_is_integer, "must be an integer"),
    "number": (_is_double, "must be a number"),
    "boolean": (lambda value: isinstance(value, bool), "must be true or false"),
    "decimal": (_reads(_DECIMAL, _decimal), "must be a decimal number in a string"),
    "date": (_reads(_DATE, date.fromisoformat), "must be a date as YYYY-MM-DD in a string"),
    "datetime": (
        _reads(f"{_DATE}[Tt_ ]{_CLOCK}{_OFFSET}", lambda text: datetime.fromisoformat(text.upper())),
        "must be an RFC 3339 date and time in a string",
    ),
    "uuid": (_reads(f"(?:urn:uuid:)?{_UUID}|{{{_UUID}}}|{_HEX}{{32}}", UUID), "must be a UUID in a string"),
}
"""The forms of scalars. Workers and the coordinator accept exactly these, and pydantic reads all of them."""
TEXTS = frozenset({"string", "decimal", "date", "datetime", "uuid"})
"""The scalars whose values are strings in JSON."""


def _scalar_rule(type_id: str, value: Any) -> str | None:
    """Return the rule that `value` breaks; `json` and unknown scalars have none."""
    if type_id not in SCALARS:
        return None
    holds, rule = SCALARS[type_id]
    return None if holds(value) else rule


@lru_cache(maxsize=500)
def _matcher(pattern: str) -> Callable[[str], bool] | None:
    """Return whether a text matches a pattern in the syntax of Rust, in linear time; None for a broken pattern."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python
    except SchemaError:
        return None


def _text_rules(
    definition: Mapping[str, Any], value: str, path: str, matcher: Callable[[str], bool] | None
) -> Iterator[Mismatch]:
    pattern = definition.get("pattern")
    choices = choices_of(pattern)
    if choices is not None and value not in choices:
        yield path, shown(f"must be one of: {', '.join(choices)}")
    if choices is None and matcher is not None and not matcher(value):
        is_duration = definition.get("format") == "duration"
        rule = "must be an ISO 8601 duration, such as P1DT2H30M" if is_duration else f"must match the pattern {pattern}"
        yield path, shown(rule)
    shortest: Any = definition.get("minLength")
    longest: Any = definition.get("maxLength")
    if _is_integer(shortest) and len(value) < shortest:
        yield path, f"must have at least {shortest} character{'s' * (shortest != 1)}"
    if _is_integer(longest) and len(value) > longest:
        yield path, f"must have at most {longest} character{'s' * (longest != 1)}"


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
