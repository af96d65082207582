"""Asks for values at the terminal until they are valid: field by field for flat records, otherwise as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pipelines.authoring.plan import Plan
from pipelines.authoring.values import ValueType
from pipelines.errors import DefinitionError
from wire.comparison.type_shapes import NOTHING, Form, Shape, Types, limits_of
from wire.documents.canonical_types import TEXTS

_YES: Final = {"y": True, "yes": True, "n": False, "no": False}
_T = TypeVar("_T")
_MANY: Final = "a JSON array of "


class Asking:
    """Asks for values of the types of one pipeline. Writes to stderr and reads lines from stdin."""

    def __init__(self, plan: Plan) -> None:
        self._types = Types(plan.catalogue.canonical_types())

    def example(self, value_type: ValueType, *, many: bool) -> str:
        """Return an example of a value as JSON; empty if none was found."""
        text = self._types.sample(value_type.expression)
        return "" if text is NOTHING else json.dumps([text] if many else text)

    def value(self, value_type: ValueType, check: Callable[[Any], _T], *, many: bool) -> _T:
        """Ask until ``check`` accepts the value, and return what it returns.

        ``check`` raises ``DefinitionError`` for a wrong value. Raises ``EOFError`` at the end of the input.
        """
        fields = {} if many else self._fields(value_type)
        shape = self._types.shape(value_type.expression)
        while True:
            try:
                if fields:
                    return check(_record(fields, self._types))
                label = f"{_MANY if many else ''}{_described(shape)}"
                return check(_read(_line(f"  {label}: "), None if many else shape))
            except DefinitionError as error:
                _say(f"  {error.message}")

    def _fields(self, value_type: ValueType) -> Mapping[str, Mapping[str, Any]]:
        """Return the fields of a record all of whose fields are scalars; nothing for another type."""
        shape = self._types.shape(value_type.expression)
        if shape.form is not Form.RECORD or any(part.get("repeated") for part in shape.parts.values()):
            return {}
        shapes = [self._types.shape(part["type"]) for part in shape.parts.values()]
        return shape.parts if all(field.form is Form.SCALAR for field in shapes) else {}


def value_of(text: str) -> Any:
    """Return a text as JSON, or as it is if it is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _record(fields: Mapping[str, Mapping[str, Any]], types: Types) -> Any:
    """Ask for each field. A first line that begins with a brace is the whole record."""
    members: dict[str, Any] = {}
    for name, part in fields.items():
        shape = types.shape(part["type"])
        optional = part.get("optional") is True
        line = _line(f"  {name} ({_described(shape)}{', or nothing' if optional else ''}): ")
        if not members and line.startswith("{"):
            return value_of(line)
        if line or not optional:
            members[name] = _read(line, shape)
    return members


def _read(line: str, shape: Shape | None) -> Any:
    """Return what a line means: a text without quotes for types that are written as texts, otherwise JSON."""
    if shape is not None and shape.scalar in TEXTS:
        quoted = value_of(line) if line.startswith('"') else line
        return quoted if isinstance(quoted, str) else line
    if shape is not None and shape.scalar == "boolean":
        return _YES.get(line.lower(), value_of(line))
    return value_of(line)


def _described(shape: Shape) -> str:
    if shape.form is not Form.SCALAR:
        return f"{shape.label} as JSON"
    choices = limits_of(shape).choices
    return " or ".join(sorted(choices)) if choices else {"boolean": "yes or no"}.get(shape.scalar, shape.scalar)


def _line(prompt: str) -> str:
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr)
