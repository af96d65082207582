"""Reads how people shall see the types of questions: the order of fields and choices, and pydantic's ``Field``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from pipelines.authoring.catalogue import Catalogue
from pipelines.authoring.definition import Pipeline
from pipelines.authoring.plan import plan
from wire.documents.described_types import EXAMPLES, LONGEST_EXAMPLE, LONGEST_NAME, MOST_CHOICES, MOST_EXAMPLES, TEXTS


def described_types(pipeline: Pipeline) -> dict[str, Any]:
    """Return the member ``types`` of the declarations. A type whose order and names say everything has no entry.

    Raises as ``plan`` does.
    """
    planned = plan(pipeline)
    asked = [step for step in planned.steps if step.waits is not None and step.waits.asks]
    names = {name for step in asked for name in (step.input.type_id, step.output.type_id)}
    return {
        type_id: described
        for type_id in _reached(planned.catalogue, names)
        if (described := _type(planned.catalogue, type_id))
    }


def _reached(catalogue: Catalogue, names: set[str]) -> list[str]:
    """Return the records and the choices that values of these types contain, sorted."""
    types, reached, waiting = catalogue.canonical_types(), set[str](), [*names]
    while waiting:
        name = waiting.pop()
        if name in types and name not in reached:
            reached.add(name)
            waiting += _named(types[name]["definition"])
    return sorted(reached & (catalogue.records.keys() | catalogue.choices.keys()))


def _named(value: Any) -> Iterator[str]:
    """Yield the ids of the types that a definition names."""
    if isinstance(value, Mapping):
        if value.get("kind") == "named":
            yield value["id"]
        for member in value.values():
            yield from _named(member)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item)


def _type(catalogue: Catalogue, type_id: str) -> dict[str, Any]:
    if type_id in catalogue.choices:
        return _choices(catalogue.choices[type_id])
    fields = catalogue.records[type_id]
    order = [field.name for field in fields]
    texts = {
        field.name: texts_of_field
        for field in fields
        if (texts_of_field := _texts(field.info or FieldInfo.from_annotation(field.hint)))
    }
    return ({"order": order} if order != sorted(order) else {}) | ({"fields": texts} if texts else {})


def _choices(values: Sequence[Any]) -> dict[str, Any]:
    """Return the order of texts. Forms offer no other choices, and people find one of many by the alphabet."""
    texts = [value for value in values if isinstance(value, str) and len(value) <= LONGEST_NAME]
    is_declared = len(texts) == len(values) <= MOST_CHOICES and texts != sorted(texts)
    return {"order": texts} if is_declared else {}


def _texts(info: FieldInfo) -> dict[str, Any]:
    """Return what a field says to people. Texts that are too long are cut."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, Mapping) else {}
    said = {"title": info.title, "description": info.description, "unit": extra.get("unit")}
    texts: dict[str, Any] = {
        name: " ".join(text.split())[: TEXTS[name]] for name, text in said.items() if isinstance(text, str) and text
    }
    if examples := [_example(example) for example in (info.examples or ())[:MOST_EXAMPLES]]:
        texts[EXAMPLES] = examples
    return texts


def _example(value: Any) -> str:
    plain = to_jsonable_python(value.value if isinstance(value, Enum) else value, fallback=str)
    return (plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False))[:LONGEST_EXAMPLE]
