"""Fills a form with the members that a request and its answer share, and reads its value."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from executions.questions.forms import (
    DEEPEST,
    LONGEST_NUMBER,
    MOST_ITEMS,
    ROOT,
    Kind,
    Part,
    Problem,
    fits,
    marker,
    may_be_left_out,
    name_of_item,
    name_of_member,
)
from wire.comparison.type_shapes import Form, Shape, Types, limits_of
from wire.documents.canonical_types import SCALARS, TEXTS

_NOT_TYPED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that a text field does not keep."""


def shared_data(types: Types, answer: Any, request_type: Any, request: Any, zone: tzinfo) -> dict[str, str]:
    """Return the data of the members that the answer shares with its request. What fields cannot hold is JSON."""
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
            text = _local_text(value, self._zone)
            if text is not None:
                self.data[marker(name, "was")] = value
            return text
        choices = limits_of(shape).choices if shape.scalar == "string" else None
        if choices is None:
            return value if shape.scalar == "string" or value.strip() == value else None
        return f"={value}" if value in choices else None


def _as_json(data: dict[str, str], name: str, value: Any) -> None:
    data[marker(name, "json")] = "1"
    data[name] = json.dumps(value, ensure_ascii=False, indent=2)


# --- times: as they are in the answer, and in the time zone of the person ---


def _local_text(text: str, zone: tzinfo) -> str | None:
    """Return an ISO 8601 time for a field, in the time zone; None if it is no time. Times without a zone stay."""
    try:
        moment = datetime.fromisoformat(text)
        local = moment if moment.tzinfo is None else moment.astimezone(zone)
    except (ValueError, OverflowError):
        return None
    return local.replace(tzinfo=None).isoformat(timespec="seconds")


def _zoned_text(text: str, zone: tzinfo) -> str | None:
    """Return the ISO 8601 time with its offset that a person entered in the time zone; None if it is no time."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()
    except (ValueError, OverflowError):
        return None


def _is_local(text: str, was: str, zone: tzinfo) -> bool:
    """Return True if `text` is what `_local_text` made of `was`. Browsers leave out seconds that are 0."""
    local = _local_text(was, zone)
    try:
        return local is not None and datetime.fromisoformat(text) == datetime.fromisoformat(local)
    except (ValueError, TypeError):
        return False


# --- reading ---

ABSENT: Final = object()
"""Stands for a part in which nothing was entered."""
INVALID: Final = object()
"""Stands for an entry with a problem."""
ReadJson = Callable[[str, str], tuple[Any, list[Problem]]]
"""Returns the value in a JSON text and the problems of it. The second argument is the path of the value."""
CODE: Final = "ANSWER_TYPE"


def value_of(form: Part, zone: tzinfo, read_json: ReadJson) -> tuple[Any, list[Problem]]:
    """Return the answer in the form, and the problems. With problems, the answer is of no use."""
    reader = _Reader(zone, read_json)
    return reader.value(form), reader.problems


class _Reader:
    def __init__(self, zone: tzinfo, read_json: ReadJson) -> None:
        self._zone = zone
        self._read_json = read_json
        self.problems: list[Problem] = []

    def value(self, part: Part) -> Any:
        """Return the value of the part; ABSENT if it is optional and nothing was entered."""
        value = self._entered(part)
        if value is ABSENT and part.required:
            self._report(part, "is required")
        elif value is ABSENT and part.null:
            return None
        return value

    def _entered(self, part: Part) -> Any:
        if part.kind is Kind.GROUP:
            return self._group(part) if part.present else ABSENT
        if part.kind is Kind.LIST:
            return [self.value(item) for item in part.parts] if part.present else ABSENT
        if part.kind in (Kind.TEXT, Kind.LONG_TEXT):
            text = part.text.replace("\r\n", "\n")
            return text if text or part.required or part.empty else ABSENT
        if not part.text.strip() and part.kind is not Kind.CHOICE:
            return ABSENT
        return self._scalar(part)

    def _group(self, part: Part) -> dict[str, Any]:
        members = {member.member: self.value(member) for member in part.parts}
        return {name: value for name, value in members.items() if value is not ABSENT}

    def _scalar(self, part: Part) -> Any:
        if part.kind is Kind.JSON:
            value, problems = self._read_json(part.text, part.path)
            self.problems += problems
            return INVALID if problems else value
        if part.kind is Kind.CHOICE:
            return self._chosen(part)
        if part.kind is Kind.BOOLEAN:
            return {"true": True, "false": False}.get(part.text, ABSENT)
        if part.kind is Kind.DATETIME:
            return self._moment(part)
        if part.kind in (Kind.DECIMAL, Kind.DATE, Kind.UUID):
            fits, rule = SCALARS[part.kind.value]
            text = part.text.strip()
            return text if fits(text) else self._report(part, rule.removesuffix(" in a string"))
        return self._number(part)

    def _chosen(self, part: Part) -> Any:
        if not part.text:
            return ABSENT
        chosen = part.text.removeprefix("=")
        return chosen if chosen in part.choices else self._report(part, "is not one of the choices")

    def _moment(self, part: Part) -> Any:
        if _is_local(part.text, part.was, self._zone):
            return part.was
        return _zoned_text(part.text.strip(), self._zone) or self._report(part, "must be a date and time")

    def _number(self, part: Part) -> Any:
        text = part.text.strip()
        if len(text) <= LONGEST_NUMBER and re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            return int(text)
        if part.kind is Kind.INTEGER:
            return self._report(part, "must be an integer")
        if len(text) <= LONGEST_NUMBER and re.fullmatch(r"[+-]?\d*\.?\d+([eE][+-]?\d{1,4})?", text, re.ASCII):
            number = float(text)
            if Decimal(number).is_finite():
                return number
        return self._report(part, "must be a number")

    def _report(self, part: Part, rule: str) -> Any:
        self.problems.append({"field": part.path, "code": CODE, "message": rule})
        return INVALID
