"""Compares two types field by field: which values does one accept and the other refuse? Pure.

The answer is about the values that the coordinator accepts (`wire.documents.canonical_types`). A change is NARROWED
only if a complete value is known that the old type accepts and the new one refuses. If there are no changes, or all are
WIDENED, the new type accepts all values of the old one. What cannot be decided is UNKNOWN.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, Final

from wire.comparison.type_shapes import (
    MAX_DEPTH,
    NOTHING,
    Form,
    Limits,
    Shape,
    Types,
    candidates,
    described,
    is_wider_scalar,
    is_within,
    items_between,
    limits_of,
    refused_choices,
)
from wire.documents.canonical_types import member_path
from wire.documents.json_reader import shown
from wire.documents.json_writer import same_json, sorted_text

MAX_COMPARED: Final = 100_000
"""How many fields and variants are compared. Types with more have one change that says so."""
_UNCHECKED_OF_FIELDS: Final = ("presence", "nullability", "minItems", "maxItems")
_UNCHECKED_OF_WRAPPERS: Final = ("format", "allowedValues", "patternSyntax")
_CODE: Final = "rules"
"""The member with what only the pipeline's code decides. Fields, records and wrappers may have it."""


class Effect(StrEnum):
    """What a change does to the values that the type accepts."""

    NARROWED = "narrowed"
    WIDENED = "widened"
    UNKNOWN = "unknown"


class Rule(StrEnum):
    """What changed."""

    REQUIRED_ADDED = "required-added"
    OPTIONAL_ADDED = "optional-added"
    FIELD_REMOVED = "field-removed"
    BECAME_REQUIRED = "became-required"
    BECAME_OPTIONAL = "became-optional"
    NULL_REFUSED = "null-refused"
    NULL_ACCEPTED = "null-accepted"
    VARIANT_ADDED = "variant-added"
    VARIANT_REMOVED = "variant-removed"
    VALUES = "values"
    OPAQUE = "opaque"
    UNCHECKED = "unchecked"
    CODE = "code"
    TOO_LARGE = "too-large"


@dataclass(frozen=True, slots=True)
class TypeChange:
    """One change. `path` is inside the type, such as `.lines[].price`. A missing `before` or `after` is empty."""

    path: str
    rule: Rule
    effect: Effect
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two expressions at the same path. `is_reached`: a complete value is known that has a part at this path."""

    before: Any
    after: Any
    path: str
    depth: int
    is_reached: bool


def compare_types(
    before: Types, before_id: Any, after: Types, after_id: Any, *, defined: bool = False
) -> Iterator[TypeChange]:
    """Yield the changes between two types, which are type ids or type expressions, outermost first.

    A type that occurs at several paths is compared once. Members that the coordinator does not check, such as a pattern
    in another dialect, are UNKNOWN. With `defined`, so are types without a definition that have the same name.
    """
    walk = _Walk(before, after, defined)
    waiting = deque([_Pair(before_id, after_id, "", 0, is_reached=True)])
    while waiting and walk.compared < MAX_COMPARED:
        pair = waiting.popleft()
        if pair.depth <= MAX_DEPTH:
            yield from walk.changes(pair)
            waiting.extend(walk.inner)
            walk.inner.clear()
    if waiting:
        yield TypeChange(waiting[0].path, Rule.TOO_LARGE, Effect.UNKNOWN)


class _Walk:
    """Compares pairs, and collects the pairs inside of them in `inner`."""

    def __init__(self, before: Types, after: Types, defined: bool) -> None:
        self._before, self._after, self._defined = before, after, defined
        self._visited: set[tuple[int, int]] = set()
        self.inner: list[_Pair] = []
        self.compared = 0

    def changes(self, pair: _Pair) -> Iterator[TypeChange]:
        old, new = self._before.shape(pair.before), self._after.shape(pair.after)
        self.compared += 1
        if new.accepts_everything:
            if not old.accepts_everything:
                yield TypeChange(pair.path, Rule.VALUES, Effect.WIDENED, described(old), described(new))
        elif Form.OPAQUE in (old.form, new.form):
            if self._defined or not same_json(
                [old.form, old.label, old.body, old.wrappers], [new.form, new.label, new.body, new.wrappers]
            ):
                yield TypeChange(pair.path, Rule.OPAQUE, Effect.UNKNOWN, described(old), described(new))
        elif old.form is not new.form:
            yield self._values(pair, old, new, [self._before.sample(pair.before), *candidates(old, new)])
        else:
            yield from self._same_form(pair, old, new)
            if not new.accepts_everything:
                yield from self._unchecked(pair, old, new)

    def _unchecked(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        """Yield the constraints that only the pipeline checks: those of wrappers, and the rules of a class."""
        for member in (*_UNCHECKED_OF_WRAPPERS, _CODE):
            before, after = (
                [expression[member] for expression in shape.wrappers if member in expression] for shape in (old, new)
            )
            yield from _unlike(pair.path, member, before or None, after or None)

    def _same_form(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        if old.form is Form.SCALAR:
            yield from self._scalars(pair, old, new)
        elif old.form is Form.MAP:
            yield from self._maps(pair, old, new)
        elif (id(old.body), id(new.body)) not in self._visited:
            self._visited.add((id(old.body), id(new.body)))
            self.compared += len(old.parts) + len(new.parts)
            yield from _unlike(pair.path, _CODE, old.body.get(_CODE), new.body.get(_CODE))
            yield from _unlike(pair.path, "tag", old.body.get("tag"), new.body.get("tag"))
            yield from self._records(pair, old, new) if old.form is Form.RECORD else self._unions(pair, old, new)

    # --- records ---

    def _records(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        has_value = self._before.required(old) is not NOTHING
        for name, part in old.parts.items():
            if name not in new.parts:
                yield self._field_removed(pair, name, part, has_value)
            else:
                yield from self._field(pair, name, part, new.parts[name], has_value)
        for name, part in new.parts.items():
            if name in old.parts:
                continue
            path, text = member_path(pair.path, name), self._field_text(self._after, part)
            if part.get("optional") is True:
                yield TypeChange(path, Rule.OPTIONAL_ADDED, Effect.WIDENED, after=text)
            else:
                yield _narrowed(pair, path, Rule.REQUIRED_ADDED, has_value, after=text)

    def _field_removed(self, pair: _Pair, name: str, part: Mapping[str, Any], has_value: bool) -> TypeChange:
        has_member = (
            part.get("optional") is not True
            or self._before.takes_null(part)
            or self._before.sample_of_field(part) is not NOTHING
        )
        path, text = member_path(pair.path, name), self._field_text(self._before, part)
        return _narrowed(pair, path, Rule.FIELD_REMOVED, has_value and has_member, before=text)

    def _field(
        self, pair: _Pair, name: str, old: Mapping[str, Any], new: Mapping[str, Any], has_value: bool
    ) -> Iterator[TypeChange]:
        """Yield the changes of a field. `has_value`: a value of the older record is known."""
        path = member_path(pair.path, name)
        was_optional, is_optional = old.get("optional") is True, new.get("optional") is True
        if was_optional and not is_optional:
            yield _narrowed(pair, path, Rule.BECAME_REQUIRED, has_value, "optional", "required")
        elif is_optional and not was_optional:
            yield TypeChange(path, Rule.BECAME_OPTIONAL, Effect.WIDENED, "required", "optional")
        if was_optional is is_optional or is_optional:
            yield from self._null(pair, path, old, new, has_value)
        for member in (*_UNCHECKED_OF_FIELDS, _CODE):
            yield from _unlike(path, member, old.get(member), new.get(member))
        repeated = old.get("repeated") is True
        if repeated is not (new.get("repeated") is True):
            yield self._repetition(pair, path, old, new, has_value)
            return
        fewest, most = items_between(old) or (1, 1)
        is_reached = pair.is_reached and has_value and max(fewest, 1) <= most
        self.inner.append(_Pair(old.get("type"), new.get("type"), path + "[]" * repeated, pair.depth + 1, is_reached))

    def _null(
        self, pair: _Pair, path: str, old: Mapping[str, Any], new: Mapping[str, Any], has_value: bool
    ) -> Iterator[TypeChange]:
        before, after = self._before.takes_null(old), self._after.takes_null(new)
        if before and not after:
            yield _narrowed(pair, path, Rule.NULL_REFUSED, has_value, "null is accepted", "null is refused")
        elif after and not before and old.get("optional") is new.get("optional"):
            yield TypeChange(path, Rule.NULL_ACCEPTED, Effect.WIDENED, "null is refused", "null is accepted")

    def _repetition(
        self, pair: _Pair, path: str, old: Mapping[str, Any], new: Mapping[str, Any], has_value: bool
    ) -> TypeChange:
        """Return the change from one value to an array, or the reverse."""
        texts = self._field_text(self._before, old), self._field_text(self._after, new)
        if old.get("repeated") is True:
            if self._after.shape(new.get("type")).accepts_everything:
                return TypeChange(path, Rule.VALUES, Effect.WIDENED, *texts)
            value = self._before.sample_of_field(old)
            value = NOTHING if self._after.accepts(new.get("type"), value) else value
        else:
            value = self._before.sample(old.get("type"))
        return _narrowed(pair, path, Rule.VALUES, has_value and value is not NOTHING, *texts)

    def _field_text(self, types: Types, part: Mapping[str, Any]) -> str:
        text = described(types.shape(part.get("type"))) + "[]" * (part.get("repeated") is True)
        return f"{text}, optional" if part.get("optional") is True else text

    # --- unions and maps ---

    def _unions(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        for name, part in old.parts.items():
            path = member_path(pair.path, name)
            if name in new.parts:
                payloads = part.get("payload"), new.parts[name].get("payload")
                if payloads == (None, None):
                    continue
                self.inner.append(_Pair(*payloads, path, pair.depth + 1, pair.is_reached))
                continue
            has_value = "payload" not in part or self._before.sample(part["payload"]) is not NOTHING
            yield _narrowed(pair, path, Rule.VARIANT_REMOVED, has_value, before=shown(name))
        for name in new.parts:
            if name not in old.parts:
                path = member_path(pair.path, name)
                yield TypeChange(path, Rule.VARIANT_ADDED, Effect.WIDENED, after=shown(name))

    def _maps(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        keys = _key_scalar(old.body), _key_scalar(new.body)
        if keys[0] != keys[1]:
            if is_wider_scalar(*keys):
                yield TypeChange(f"{pair.path}{{}}", Rule.VALUES, Effect.WIDENED, *keys)
            else:
                yield self._other_keys(pair, old, *keys)
        values = old.body.get("value"), new.body.get("value")
        self.inner.append(_Pair(*values, f"{pair.path}{{}}", pair.depth + 1, pair.is_reached))

    def _other_keys(self, pair: _Pair, old: Shape, before: str, after: str) -> TypeChange:
        has_value = self._before.sample(old.body.get("value")) is not NOTHING
        has_key = any(
            self._before.accepts(_scalar_type(before), key) and not self._after.accepts(_scalar_type(after), key)
            for key in candidates(Shape(Form.SCALAR, before, before))
        )
        return _narrowed(pair, f"{pair.path}{{}}", Rule.VALUES, has_value and has_key, before, after)

    # --- scalars ---

    def _scalars(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        same = old.scalar == new.scalar and same_json(old.wrappers, new.wrappers)
        if not same and is_wider_scalar(old.scalar, new.scalar) and is_within(old, new):
            yield from self._wider(pair, old, new)
        elif not same:
            yield self._values(pair, old, new, chain(refused_choices(old, new), candidates(old, new)))

    def _wider(self, pair: _Pair, old: Shape, new: Shape) -> Iterator[TypeChange]:
        before, after = limits_of(old), limits_of(new)
        if after.patterns - before.patterns:
            texts = _patterns(before), _patterns(after)
            yield TypeChange(pair.path, Rule.UNCHECKED, Effect.UNKNOWN, *texts)
        elif (old.scalar, before) != (new.scalar, after):
            yield TypeChange(pair.path, Rule.VALUES, Effect.WIDENED, described(old), described(new))

    def _values(self, pair: _Pair, old: Shape, new: Shape, values: Iterable[Any]) -> TypeChange:
        """Return a change that only a value can judge."""
        is_refused = any(
            value is not NOTHING
            and self._before.accepts(pair.before, value)
            and not self._after.accepts(pair.after, value)
            for value in values
        )
        return _narrowed(pair, pair.path, Rule.VALUES, is_refused, described(old), described(new))


def _narrowed(pair: _Pair, path: str, rule: Rule, is_known: bool, before: str = "", after: str = "") -> TypeChange:
    """Return a NARROWED change if a value is known that the new type refuses at the path of `pair`; else UNKNOWN."""
    effect = Effect.NARROWED if is_known and pair.is_reached else Effect.UNKNOWN
    return TypeChange(path, rule, effect, before, after)


def _unlike(path: str, member: str, before: Any, after: Any) -> Iterator[TypeChange]:
    """Yield a change if a member differs that the coordinator does not check."""
    if not same_json(before, after):
        rule = Rule.CODE if member == _CODE else Rule.UNCHECKED
        yield TypeChange(path, rule, Effect.UNKNOWN, _constraint(member, before), _constraint(member, after))


# --- texts ----------------------------------------------------------------------------------------


def _constraint(member: str, value: Any) -> str:
    """Return the text of a field's constraint, or of those of several wrappers."""
    return "" if value in (None, []) else shown(f"{member} {sorted_text(value)}")


def _patterns(limits: Limits) -> str:
    return shown(", ".join(sorted(limits.patterns)))


def _key_scalar(expression: Mapping[str, Any]) -> str:
    """Return the scalar of a map's keys. Those that are not checked are strings."""
    key = expression.get("key")
    scalar = key.get("id") if isinstance(key, Mapping) else key
    return scalar if isinstance(scalar, str) and is_wider_scalar(scalar, "string") else "string"


def _scalar_type(name: str) -> dict[str, str]:
    return {"kind": "scalar", "id": name}
