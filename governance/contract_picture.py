"""The picture of a contract: its steps with the types between them, and what its types consist of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from wire.documents.contract import Contract, Step
from wire.documents.json_reader import shown

MOST_STEPS: Final = 50
LONGEST_TEXT: Final = 34
WIDTH: Final = 320
BOX: Final = 46
GAP: Final = 44
_TOP: Final = 34
MOST_TYPES: Final = 100
MOST_PARTS: Final = 200
_UNKNOWN: Final = "a form that the coordinator does not know"
_STRUCTURE: Final = frozenset({"id", "kind", "fields", "variants", "wraps", "target"})


@dataclass(frozen=True, slots=True)
class Box:
    """A step. `y` is its upper edge. `is_await` is true if it waits for an answer from outside."""

    y: int
    name: str
    note: str
    is_await: bool


@dataclass(frozen=True, slots=True)
class Arrow:
    """The type that goes into a step or comes out of the last one. `y` is where the arrow begins."""

    y: int
    label: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """What a template draws. `more` is how many steps are left out."""

    boxes: list[Box]
    arrows: list[Arrow]
    height: int
    more: int
    width: int = WIDTH
    box_height: int = BOX
    gap: int = GAP


def diagram(contract: Contract, policies: Mapping[str, str] = MappingProxyType({})) -> Diagram:
    """Return the picture. `policies` has the policies of steps by their authored names, in short."""
    steps = contract.steps[:MOST_STEPS]
    boxes = [
        _box(step, _TOP + index * (BOX + GAP), policies.get(step.authored_name or ""))
        for index, step in enumerate(steps)
    ]
    arrows = [Arrow(_TOP + index * (BOX + GAP) - GAP, label) for index, label in enumerate(_labels(steps))]
    return Diagram(boxes, arrows, _TOP + len(steps) * (BOX + GAP), len(contract.steps) - len(steps))


def _box(step: Step, y: int, policy: str | None) -> Box:
    is_await = step.await_transport is not None or step.deferred_completion is not None
    over = f" over {step.await_transport}" if step.await_transport else ""
    kind = "" if policy else f"{step.kind}{over}"
    if step.branching:
        kind = step.branching.text
    elif step.condition:
        kind = f"await if {step.condition.rpartition('.')[2]}"
    is_plain = not (step.branching or step.condition)
    cardinality = (step.cardinality or "").replace("_", " ").lower() if is_plain else ""
    note = ", ".join(part for part in (kind, cardinality, policy) if part)
    if step.calls_pipeline is not None:
        note = _tail(f"calls {step.calls_pipeline} {step.calls_release or '(active)'}")
    return Box(y, _end(f"{step.index + 1}. {step.authored_name or 'unnamed'}"), _end(note), is_await)


def _labels(steps: tuple[Step, ...]) -> list[str]:
    """Return a label above each step, and one below the last."""
    if not steps:
        return []
    labels = [_tail(steps[0].input_type_id)]
    for before, after in pairwise(steps):
        left, right = before.output_type_id, after.input_type_id
        if after.takes_request:
            labels.append(_tail(f"{before.input_type_id} and {left}"))
            continue
        same = left == right or left is None or right is None
        labels.append(_tail(left or right) if same else _tail(f"{left} → {right}"))
    return [*labels, _tail(steps[-1].output_type_id)]


def _end(text: str) -> str:
    """Return the text without what is too long at its end."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _tail(text: str | None) -> str:
    """Return the text without what is too long at its beginning: the end of a class name tells more."""
    text = text or "no type"
    return text if len(text) <= LONGEST_TEXT else f"…{text[1 - LONGEST_TEXT :]}"


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a record, a variant of a union, or what a wrapper or alias stands for."""

    name: str
    type: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A type. `more` is how many of its parts are left out."""

    name: str
    kind: str
    parts: list[Part]
    more: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The types in the order of their names. `more` is how many are left out."""

    types: list[Listed]
    more: int


def listing(canonical_types: Mapping[str, Any]) -> Listing:
    names = sorted(canonical_types)
    return Listing(
        [_listed(name, canonical_types[name]) for name in names[:MOST_TYPES]], max(0, len(names) - MOST_TYPES)
    )


def _listed(name: str, entry: Any) -> Listed:
    definition = entry.get("definition") if isinstance(entry, Mapping) else None
    if not isinstance(definition, Mapping):
        return Listed(shown(name), "not defined by the contract", [], 0)
    parts = list(_parts(definition))
    return Listed(shown(name), _text(definition.get("kind")), parts[:MOST_PARTS], max(0, len(parts) - MOST_PARTS))


def _parts(definition: Mapping[str, Any]) -> Iterator[Part]:
    for field in _objects(definition.get("fields")):
        note = "optional" if field.get("optional") is True else "required"
        many = "list of " if field.get("repeated") is True else ""
        yield Part(_text(field.get("name")), many + type_text(field.get("type")), note)
    for variant in _objects(definition.get("variants")):
        yield Part(_text(variant.get("discriminator")), type_text(variant.get("payload")))
    for member in ("wraps", "target"):
        if member in definition:
            yield Part(member, type_text(definition[member]), _rules(definition))


def _rules(definition: Mapping[str, Any]) -> str:
    """Return the other members of a wrapper, such as its bounds."""
    rules = {name: value for name, value in definition.items() if name not in _STRUCTURE}
    return shown(", ".join(f"{name} {value}" for name, value in rules.items() if isinstance(value, str | int | float)))


def type_text(expression: Any) -> str:
    """Return what a type expression says, in a few words."""
    if isinstance(expression, str):
        return shown(expression)
    if not isinstance(expression, Mapping):
        return _UNKNOWN
    if expression.get("kind") == "map":
        key = expression.get("key")
        key_text = _text(key.get("id") if isinstance(key, Mapping) else key)
        value = expression.get("value")
        nested = isinstance(value, Mapping) and value.get("kind") == "map"
        return f"map of {key_text} to {'a map' if nested else type_text(value)}"
    return _text(expression.get("id"))


def _objects(items: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()


def _text(value: Any) -> str:
    return shown(value) if isinstance(value, str) and value else "-"
