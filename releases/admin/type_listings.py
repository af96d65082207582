"""The canonical types of a contract for people: what each consists of. Pure, and bounded for contracts of any size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wire.documents.json_reader import shown

MOST_TYPES: Final = 100
MOST_PARTS: Final = 200
_UNKNOWN: Final = "a form that the coordinator does not know"
_STRUCTURE: Final = frozenset({"id", "kind", "fields", "variants", "wraps", "target"})


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
        notes = ("optional" if field.get("optional") is True else "required",)
        many = "list of " if field.get("repeated") is True else ""
        yield Part(_text(field.get("name")), many + type_text(field.get("type")), *notes)
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
