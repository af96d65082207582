"""Fills a form: the data of a value, and of the members that a request and its answer share."""

import json
import re
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from executions.questions.building import fits
from executions.questions.parts import (
    DEEPEST,
    LONGEST_NUMBER,
    MOST_ITEMS,
    ROOT,
    local_text,
    marker,
    may_be_left_out,
    name_of_item,
    name_of_member,
)
from wire.comparison.type_shapes import Form, Shape, Types, limits_of
from wire.documents.canonical_types import SCALARS, TEXTS

_NOT_TYPED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that a text field does not keep."""


def data_of(types: Types, expression: Any, value: Any, zone: tzinfo, *, many: bool = False) -> dict[str, str]:
    """Return the data of a form that holds `value`. What a form of the type cannot hold is JSON."""
    filler = _Filler(types, zone)
    if many:
        filler.repeated(expression, value, ROOT, 0)
    else:
        filler.fill(expression, value, ROOT, 0)
    return filler.data if fits(types, expression, filler.data, many=many) else _as_json({}, ROOT, value)


def shared_data(types: Types, answer: Any, request_type: Any, request: Any, zone: tzinfo) -> dict[str, str]:
    """Return the data of the members that the answer shares with its request by name and type."""
    filler = _Filler(types, zone)
    filler.share(answer, request_type, request, ROOT, 0)
    return filler.data if fits(types, answer, filler.data) else {}


class _Filler:
    def __init__(self, types: Types, zone: tzinfo) -> None:
        self._types = types
        self._zone = zone
        self.data: dict[str, str] = {}

    def fill(self, expression: Any, value: Any, name: str, depth: int) -> None:
        shape = self._types.shape(expression)
        if depth > DEEPEST:
            _as_json(self.data, name, value)
        elif shape.form is Form.RECORD and isinstance(value, Mapping) and value.keys() <= shape.parts.keys():
            for member, field in shape.parts.items():
                self.member(field, value, member, name_of_member(name, member), depth + 1)
        elif shape.form is Form.SCALAR and (text := self._text(shape, value, name)) is not None:
            self.data[name] = text
        else:
            _as_json(self.data, name, value)

    def member(self, field: Mapping[str, Any], group: Mapping[str, Any], member: str, name: str, depth: int) -> None:
        value, optional = group.get(member), may_be_left_out(field)
        if value is None and optional:
            if member in group:
                self.data[marker(name, "null")] = "1"
            return
        if optional and (value == "" or isinstance(value, list | Mapping)):
            self.data[marker(name, "empty" if value == "" else "given")] = "1"
        if field.get("repeated") is True:
            self.repeated(field.get("type"), value, name, depth)
        else:
            self.fill(field.get("type"), value, name, depth)

    def repeated(self, expression: Any, value: Any, name: str, depth: int) -> None:
        if depth > DEEPEST or not isinstance(value, list) or len(value) > MOST_ITEMS:
            _as_json(self.data, name, value)
            return
        self.data[marker(name, "items")] = " ".join(map(str, range(len(value))))
        for number, item in enumerate(value):
            self.fill(expression, item, name_of_item(name, str(number)), depth + 1)

    def share(self, answer: Any, request_type: Any, request: Any, name: str, depth: int) -> None:
        ours, theirs = self._types.shape(answer), self._types.shape(request_type)
        if ours.form is not Form.RECORD or theirs.form is not Form.RECORD or not isinstance(request, Mapping):
            return
        for member, field in ours.parts.items():
            other, inner = theirs.parts.get(member), name_of_member(name, member)
            if other is None or request.get(member) is None or depth > DEEPEST:
                continue
            kind, other_kind = (field.get("type"), field.get("repeated")), (other.get("type"), other.get("repeated"))
            if kind == other_kind:
                self.member(field, request, member, inner, depth + 1)
            elif field.get("optional") is not True and not field.get("repeated") and not other.get("repeated"):
                self.share(kind[0], other_kind[0], request[member], inner, depth + 1)

    def _text(self, shape: Shape, value: Any, name: str) -> str | None:
        """Return the text of a scalar; None if a field cannot hold it."""
        is_one, _ = SCALARS.get(shape.scalar, (lambda _: False, ""))
        if not is_one(value):
            return None
        if shape.scalar == "boolean":
            return "true" if value else "false"
        if shape.scalar not in TEXTS:
            number = json.dumps(value)
            return number if len(number) <= LONGEST_NUMBER else None
        if _NOT_TYPED.search(value):
            return None
        if shape.scalar == "datetime":
            text = local_text(value, self._zone)
            if text is not None:
                self.data[marker(name, "was")] = value
            return text
        choices = limits_of(shape).choices if shape.scalar == "string" else None
        if choices is None:
            return value if shape.scalar == "string" or value.strip() == value else None
        return f"={value}" if value in choices else None


def _as_json(data: dict[str, str], name: str, value: Any) -> dict[str, str]:
    data[marker(name, "json")] = "1"
    data[name] = json.dumps(value, ensure_ascii=False, indent=2)
    return data
