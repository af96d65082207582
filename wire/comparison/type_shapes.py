"""Reads type expressions of a contract for a comparison: what an expression stands for, and a value that it accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from wire.documents.canonical_types import SCALARS, TEXTS, Checker, named_objects, number_of
from wire.documents.choices import choices_of
from wire.documents.json_reader import shown

MAX_DEPTH: Final = 64
"""How deep types nest that are compared, as deep as values are checked."""
NOTHING: Final = object()
"""Stands for a missing value."""
_MAX_SAMPLE: Final = 500
_MAX_STEPS: Final = 200_000
_LONGEST_TEXT: Final = 5000
_SAMPLES: Final[dict[str, tuple[Any, ...]]] = {
    "string": ("a", "", "~"),
    "integer": (1, 0, -1),
    "number": (1, 0.5, 0, -1),
    "boolean": (True, False),
    "decimal": ("1.5", "1", "0", "-1"),
    "date": ("2026-01-02",),
    "datetime": ("2026-01-02T03:04:05+00:00",),
    "uuid": ("6f0a3f0e-6d5f-4a65-9f0b-1e2d3c4b5a69",),
    "json": ("a", 1, 0, True, [], {}),
}


class Form(StrEnum):
    """What values of a type are. OPAQUE is what the contract does not define."""

    RECORD = "record"
    UNION = "union"
    CHOICE = "choice"
    MAP = "map"
    SCALAR = "scalar"
    OPAQUE = "opaque"


@dataclass(frozen=True, slots=True)
class Shape:
    """What an expression stands for, behind aliases and wrappers.

    `label` is the name for people. `parts` are the fields of a record, or the variants of a union or choice, by name.
    `body` is the definition, or the expression of a map or scalar. `wrappers` are the definitions that constrain the
    values.
    """

    form: Form
    label: str
    body: Any = None
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    wrappers: tuple[Mapping[str, Any], ...] = ()

    @property
    def scalar(self) -> str:
        return self.body if self.form is Form.SCALAR else ""

    @property
    def accepts_everything(self) -> bool:
        """True for JSON of any form."""
        return self.scalar == "json" and not self.wrappers


class Types(Checker):
    """The types of one contract, with what each stands for and values that it accepts."""

    def __init__(self, canonical_types: Mapping[str, Any]) -> None:
        super().__init__(canonical_types)
        self._shapes: dict[str, Shape] = {}
        self._samples: dict[int, tuple[Any, int]] = {}
        self._steps = 0

    def shape(self, expression: Any) -> Shape:
        """Return what the expression stands for. Types without a definition, and endless ones, are opaque."""
        name = expression.get("id") if _is_named(expression) else expression
        if not isinstance(name, str):
            return self._shape(expression)
        if name not in self._shapes:
            self._shapes[name] = self._shape(name)
        return self._shapes[name]

    def _shape(self, expression: Any) -> Shape:
        wrappers: list[Mapping[str, Any]] = []
        label = ""
        for _ in range(MAX_DEPTH):
            if _is_named(expression):
                expression = expression.get("id")
            if not isinstance(expression, str):
                return _anonymous(expression, label, tuple(wrappers))
            label = label or shown(expression)
            definition = self.definition(expression)
            kind = definition.get("kind") if definition is not None else None
            if definition is not None and kind == "alias":
                expression = definition.get("target")
            elif definition is not None and kind == "wrapper":
                wrappers.append(definition)
                expression = definition.get("wraps")
            else:
                return _defined(definition, label, tuple(wrappers))
        return Shape(Form.OPAQUE, label, wrappers=tuple(wrappers))

    def sample(self, expression: Any) -> Any:
        """Return a small value that the coordinator accepts and that is not null; NOTHING if none was found."""
        return self._sample(expression, 0, frozenset())[0]

    def sample_of_field(self, field: Mapping[str, Any]) -> Any:
        """Return a small value of a record's field that is not null; NOTHING if none was found."""
        return self._sample_field(field, 0, frozenset())[0]

    def required(self, record: Shape) -> Any:
        """Return a value of the record with its required fields only; NOTHING if none was found."""
        return self._sample_record(record, 0, frozenset())[0]

    def _sample(self, expression: Any, depth: int, open_types: frozenset[int]) -> tuple[Any, int]:
        self._steps += 1
        if depth > MAX_DEPTH // 2 or self._steps > _MAX_STEPS:
            return NOTHING, 0
        shape = self.shape(expression)
        if shape.form is Form.SCALAR:
            accepted = (value for value in candidates(shape) if self.accepts(expression, value))
            return next(accepted, NOTHING), 1
        if shape.form is Form.MAP:
            return {}, 1
        if shape.form is Form.OPAQUE:
            return ("a", 1) if self.accepts(expression, "a") else (NOTHING, 0)
        if id(shape.body) in open_types:
            return NOTHING, 0
        within = open_types | {id(shape.body)}
        return (
            self._sample_record(shape, depth, within)
            if shape.form is Form.RECORD
            else self._sample_union(shape, depth, within)
        )

    def _sample_record(self, shape: Shape, depth: int, open_types: frozenset[int]) -> tuple[Any, int]:
        if id(shape.body) in self._samples:
            return self._samples[id(shape.body)]
        value, weight = dict[str, Any](), 1
        for name, part in shape.parts.items():
            if part.get("optional") is True:
                continue
            value[name], more = self._sample_field(part, depth, open_types)
            weight += more
            if value[name] is NOTHING or weight > _MAX_SAMPLE:
                return NOTHING, 0
        self._samples[id(shape.body)] = value, weight
        return value, weight

    def _sample_field(self, part: Mapping[str, Any], depth: int, open_types: frozenset[int]) -> tuple[Any, int]:
        items = items_between(part)
        fewest, most = items or (1, 1)
        if fewest == 0 or fewest > min(most, _MAX_SAMPLE):
            return ([], 1) if fewest == 0 else (NOTHING, 0)
        value, weight = self._sample(part.get("type"), depth + 1, open_types)
        return (value, weight) if items is None or value is NOTHING else ([value] * fewest, fewest * weight)

    def _sample_union(self, shape: Shape, depth: int, open_types: frozenset[int]) -> tuple[Any, int]:
        for name, part in shape.parts.items():
            if "payload" not in part:
                continue
            payload, weight = self._sample(part["payload"], depth + 1, open_types)
            if payload is not NOTHING and weight < _MAX_SAMPLE:
                return payload if shape.form is Form.CHOICE else {name: payload}, weight + 1
        return NOTHING, 0


def _is_named(expression: Any) -> bool:
    return isinstance(expression, Mapping) and expression.get("kind") == "named"


def _anonymous(expression: Any, label: str, wrappers: tuple[Mapping[str, Any], ...]) -> Shape:
    kind = expression.get("kind") if isinstance(expression, Mapping) else None
    if kind == "scalar" and isinstance(scalar := expression.get("id"), str):
        known = scalar in SCALARS or scalar == "json"
        return Shape(Form.SCALAR if known else Form.OPAQUE, label or shown(scalar), scalar, wrappers=wrappers)
    if kind == "map":
        return Shape(Form.MAP, label or "map", expression, wrappers=wrappers)
    return Shape(Form.OPAQUE, label or "?", expression, wrappers=wrappers)


def _defined(definition: Mapping[str, Any] | None, label: str, wrappers: tuple[Mapping[str, Any], ...]) -> Shape:
    kind = definition.get("kind") if definition is not None else None
    if definition is not None and kind in (Form.RECORD, Form.UNION, Form.CHOICE):
        members, name = ("fields", "name") if kind == Form.RECORD else ("variants", "discriminator")
        objects = named_objects(definition.get(members), name)
        if objects is not None:
            return Shape(Form(kind), label, definition, objects, wrappers)
    return Shape(Form.OPAQUE, label, definition, wrappers=wrappers)


# --- scalars --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """The constraints that the coordinator checks, of all wrappers together. A bound has a flag: whether it is strict.

    `patterns` are those that it does not check.
    """

    choices: frozenset[str] | None
    shortest: int
    longest: float
    lower: tuple[Decimal, bool] | None
    upper: tuple[Decimal, bool] | None
    patterns: frozenset[str]


def limits_of(shape: Shape) -> Limits:
    """Return the constraints of a scalar's wrappers."""
    choices: frozenset[str] | None = None
    patterns = set[str]()
    shortest, longest = 0.0, float("inf")
    lower: list[tuple[Decimal, bool]] = []
    upper: list[tuple[Decimal, bool]] = []
    for wrapper in shape.wrappers:
        pattern = wrapper.get("pattern")
        literals = choices_of(pattern)
        if literals is not None:
            choices = frozenset(literals) if choices is None else choices & frozenset(literals)
        elif pattern is not None:
            patterns.add(str(pattern))
        shortest = max(shortest, _integer_or(wrapper.get("minLength"), 0))
        longest = min(longest, _integer_or(wrapper.get("maxLength"), float("inf")))
        lower += _bounds(wrapper, "minimum")
        upper += _bounds(wrapper, "maximum")
    return Limits(
        choices,
        int(shortest),
        longest,
        max(lower, default=None),
        min(upper, key=lambda bound: (bound[0], not bound[1]), default=None),
        frozenset(patterns),
    )


def candidates(*shapes: Shape) -> Iterator[Any]:
    """Yield values at the limits of scalar types: some are of the types, others are not."""
    yield from (value for shape in shapes for value in _SAMPLES.get(shape.scalar, ()))
    for shape in shapes:
        limits = limits_of(shape)
        yield from sorted(limits.choices or ())[:50]
        for length in (limits.shortest, limits.shortest - 1, limits.longest, limits.longest + 1):
            if 0 <= length <= _LONGEST_TEXT:
                yield "a" * int(length)
                yield "1" * int(length)
        for number in _near(limits):
            integer = int(number) if abs(number.adjusted()) < 300 else 0
            yield from (integer, integer - 1, integer + 1)
            yield from (float(number) if abs(number.adjusted()) < 300 else 0.0, str(number))


def _near(limits: Limits) -> Iterator[Decimal]:
    bounds = [bound[0] for bound in (limits.lower, limits.upper) if bound is not None]
    yield from (bound + step for bound in bounds for step in map(Decimal, ("0", "0.5", "-0.5", "1", "-1")))
    if len(bounds) == 2:
        yield sum(bounds) / Decimal(2)


def _bounds(wrapper: Mapping[str, Any], name: str) -> Iterator[tuple[Decimal, bool]]:
    strict = wrapper.get(f"{name}Exclusive")
    inclusive, exclusive = number_of(wrapper.get(name)), number_of(strict)
    if inclusive is not None:
        yield inclusive, strict is True
    if exclusive is not None:
        yield exclusive, True


def _integer_or(value: Any, default: float) -> float:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def items_between(field: Mapping[str, Any]) -> tuple[int, float] | None:
    """Return how many items a field has at least and at most; None for a field that is not a list."""
    if field.get("repeated") is not True:
        return None
    return int(_integer_or(field.get("minItems"), 0)), _integer_or(field.get("maxItems"), float("inf"))


def is_wider_scalar(before: str, after: str) -> bool:
    """Return True if each value of the scalar `before` is one of `after`."""
    return (
        before == after
        or after == "json"
        or (before, after) == ("integer", "number")
        or (before in TEXTS and after == "string")
    )


def is_within(old: Shape, new: Shape) -> bool:
    """Return True if the constraints of `old` imply those of `new`. Patterns that are not checked do not count."""
    before, after = limits_of(old), limits_of(new)
    if after.choices is not None and (before.choices is None or not before.choices <= after.choices):
        return False
    lengths = [len(choice) for choice in before.choices or ()]
    shortest, longest = min(lengths, default=before.shortest), max(lengths, default=before.longest)
    texts_fit = after.shortest <= max(shortest, before.shortest) and after.longest >= min(longest, before.longest)
    if not texts_fit and old.scalar not in ("integer", "number", "boolean"):
        return False
    return old.scalar == "boolean" or (
        _bounds_fit(before.lower, after.lower, 1) and _bounds_fit(before.upper, after.upper, -1)
    )


def refused_choices(old: Shape, new: Shape) -> Iterator[str]:
    """Yield a few literals that the constraints of `old` allow and those of `new` do not."""
    before, after = limits_of(old), limits_of(new)
    refused = (
        choice
        for choice in sorted(before.choices or ())
        if (after.choices is not None and choice not in after.choices)
        or not after.shortest <= len(choice) <= after.longest
    )
    return islice(refused, 20)


def _bounds_fit(before: Any, after: Any, sign: int) -> bool:
    if after is None:
        return True
    if before is None:
        return False
    return bool((sign * before[0], before[1]) >= (sign * after[0], after[1]))


def described(shape: Shape) -> str:
    """Return the label of a type with its constraints."""
    limits = limits_of(shape)
    texts = [shape.label if shape.label == shape.scalar or not shape.scalar else f"{shape.label} ({shape.scalar})"]
    if limits.choices is not None:
        texts.append("one of " + ", ".join(sorted(limits.choices)[:20]))
    if limits.shortest:
        texts.append(f"at least {limits.shortest} characters")
    if limits.longest != float("inf"):
        texts.append(f"at most {limits.longest} characters")
    for bound, inclusive, strict in ((limits.lower, "at least", "more than"), (limits.upper, "at most", "less than")):
        if bound is not None:
            texts.append(f"{strict if bound[1] else inclusive} {bound[0]}")
    texts += [f"pattern {pattern}" for pattern in sorted(limits.patterns)]
    return shown(", ".join(texts))
