"""Which fields of a type can be searched. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wire.documents.canonical_types import Checker, named_objects
from wire.documents.json_reader import shown
from wire.documents.search import Kind, SearchField

KINDS: Final = {
    "string": Kind.TEXT,
    "uuid": Kind.TEXT,
    "boolean": Kind.TEXT,
    "integer": Kind.NUMBER,
    "number": Kind.NUMBER,
    "decimal": Kind.NUMBER,
    "date": Kind.TIME,
    "datetime": Kind.TIME,
}
"""The kind of each scalar that can be searched."""


def kind_at(canonical_types: Mapping[str, Any], type_id: str | None, path: str) -> Kind:
    """Return the kind of the values at `path` in values of a type.

    Raises `ValueError` with the reason, if there is no such path or it does not end at one text, number, time or truth
    value.
    """
    checker = Checker(canonical_types)
    expression: Any = type_id
    walked = "the input"
    for name in path.split("."):
        members = _members(checker, expression)
        if name not in members:
            known = f"it has {', '.join(map(shown, members))}" if members else "it has no fields"
            raise ValueError(f"{walked} has no field {shown(name)}; {known}")
        walked, expression = shown(name), members[name].get("type")
        if members[name].get("repeated") is True:
            raise ValueError(f"{walked} is a list; name a field with one value")
    kind = KINDS.get(checker.scalar_of(expression))
    if kind is None:
        raise ValueError(f"{walked} is not one text, number, time or bool; name a field inside it, or another field")
    return kind


def _members(checker: Checker, expression: Any) -> Mapping[str, Mapping[str, Any]]:
    type_id = expression.get("id") if isinstance(expression, Mapping) else expression
    definition = checker.definition(type_id) if isinstance(type_id, str) else None
    if definition is None or definition.get("kind") != "record":
        return {}
    return named_objects(definition.get("fields"), "name") or {}


def fields_of(
    paths: Mapping[str, str], canonical_types: Mapping[str, Any], type_id: str | None
) -> tuple[SearchField, ...]:
    """Return the fields that are declared by these paths into a type, without those that do not fit the type."""
    problems = []
    for name, path in sorted(paths.items()):
        try:
            problems.append(SearchField(name, tuple(path.split(".")), kind_at(canonical_types, type_id, path)))
        except ValueError:
            continue
    return tuple(problems)
