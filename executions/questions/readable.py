"""Values as readable fields: facts, lists and tables instead of JSON. Names of the contract in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from wire.comparison.type_shapes import Form, Types

DEEPEST: Final = 6
MOST_VALUES: Final = 400
MOST_ROWS: Final = 50
MOST_COLUMNS: Final = 6
LONGEST_TEXT: Final = 2000
_NAME = re.compile(r"[^\W_][\w -]*")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[A-Z])|[\s_-]+")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")
_TELLING = ("name", "title", "customer", "subject", "amount", "total", "reason", "number", "id", "key", "reference")
_LONGEST_SUMMARY = 40
_MOST_TELLING = 3


class As(StrEnum):
    """How a value is shown. MORE is what exceeds the limits."""

    TEXT = "text"
    TIME = "time"
    NOTHING = "nothing"
    FACTS = "facts"
    LIST = "list"
    TABLE = "table"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Readable:
    """A value for a page. FACTS have `labels` and `values`, a LIST `values`, and a TABLE `labels` and `rows`.

    `more` is the number of items that are not shown.
    """

    shown_as: As
    text: str = ""
    at: datetime | None = None
    labels: Sequence[str] = ()
    values: Sequence["Readable"] = ()
    rows: Sequence[Sequence["Readable"]] = ()
    more: int = 0

    @property
    def facts(self) -> list[tuple[str, "Readable"]]:
        return list(zip(self.labels, self.values, strict=True))

    @property
    def is_nested(self) -> bool:
        return self.shown_as in (As.FACTS, As.LIST, As.TABLE)


def readable(value: Any, types: Types | None = None, expression: Any = None) -> Readable:
    """Return a JSON value for a page, within the limits of this module.

    If it is of the type `expression`, or a list of it, its fields have the order, titles and units of `types`.
    """
    return _Reader(types).value(value, 0, _Typed(expression))


@dataclass(frozen=True, slots=True)
class _Typed:
    """What is known of a value: the expression of its type, or of its items, and its unit."""

    expression: Any = None
    unit: str = ""


class _Reader:
    def __init__(self, types: Types | None) -> None:
        self._left = MOST_VALUES
        self._types = types

    def value(self, value: Any, depth: int, typed: _Typed) -> Readable:
        self._left -= 1
        if isinstance(value, Mapping | list) and value and (depth >= DEEPEST or self._left <= 0):
            return Readable(As.MORE)
        if isinstance(value, Mapping):
            return self._facts(value, depth, self._fields(typed))
        if isinstance(value, list):
            return self._table(value, depth, typed) if _is_table(value) else self._list(value, depth, typed)
        return _scalar(value, typed.unit)

    def _fields(self, typed: _Typed) -> Mapping[str, Mapping[str, Any]]:
        """Return the fields of a record, in the order of the author; none for other types."""
        if self._types is None or typed.expression is None:
            return {}
        shape = self._types.shape(typed.expression)
        return shape.parts if shape.form is Form.RECORD else {}

    def _facts(self, value: Mapping[str, Any], depth: int, fields: Mapping[str, Mapping[str, Any]]) -> Readable:
        # PostgreSQL does not keep the order of members. Those of no known type have the nested ones last.
        known = [(name, value[name]) for name in fields if name in value]
        others = [item for item in value.items() if item[0] not in fields]
        others.sort(key=lambda item: (isinstance(item[1], Mapping | list), _rank(item[0])))
        shown = [*known, *others][: max(self._left, 1)]
        if not shown:
            return Readable(As.NOTHING)
        return Readable(
            As.FACTS,
            labels=[_label(name, fields) for name, _ in shown],
            values=[self.value(member, depth + 1, _typed(name, fields)) for name, member in shown],
            more=len(value) - len(shown),
        )

    def _list(self, value: Sequence[Any], depth: int, typed: _Typed) -> Readable:
        shown = value[: min(MOST_ROWS, max(self._left, 1))]
        if not shown:
            return Readable(As.NOTHING)
        items = [self.value(item, depth + 1, typed) for item in shown]
        return Readable(As.LIST, values=items, more=len(value) - len(shown))

    def _table(self, value: Sequence[Mapping[str, Any]], depth: int, typed: _Typed) -> Readable:
        fields, members = self._fields(typed), dict.fromkeys(name for row in value[:MOST_ROWS] for name in row)
        names = [name for name in fields if name in members] + [name for name in members if name not in fields]
        shown = value[: min(MOST_ROWS, max(self._left // len(names), 1))]
        rows = [[self.value(row.get(name), depth + 1, _typed(name, fields)) for name in names] for row in shown]
        labels = [_label(name, fields) for name in names]
        return Readable(As.TABLE, labels=labels, rows=rows, more=len(value) - len(shown))


def _label(name: str, fields: Mapping[str, Mapping[str, Any]]) -> str:
    return fields.get(name, {}).get("title") or readable_name(name)


def _typed(name: str, fields: Mapping[str, Mapping[str, Any]]) -> _Typed:
    field = fields.get(name, {})
    return _Typed(field.get("type"), field.get("unit", ""))


def _is_table(value: Sequence[Any]) -> bool:
    """True for a list of objects that have few members, none of them nested."""
    rows = value[:MOST_ROWS]
    if not rows or not all(isinstance(row, Mapping) and row for row in rows):
        return False
    flat = all(not isinstance(member, Mapping | list) for row in rows for member in row.values())
    return flat and len({name for row in rows for name in row}) <= MOST_COLUMNS


def _scalar(value: Any, unit: str = "") -> Readable:
    if value is None or value == "":
        return Readable(As.NOTHING)
    if isinstance(value, bool):
        return Readable(As.TEXT, "Yes" if value else "No")
    if unit:
        return Readable(As.TEXT, f"{_grouped(value)} {unit}")
    text = str(value)
    if isinstance(value, str) and _DAY.fullmatch(value):
        return Readable(As.TEXT, _day(value))
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return Readable(As.TIME, text, at=datetime.fromisoformat(value))
        except ValueError:
            pass
    return Readable(As.TEXT, text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…")


def _grouped(value: Any) -> str:
    """Return a number with commas between thousands: "1,250.00". Other texts stay."""
    text = str(value)[:LONGEST_TEXT]
    whole, point, rest = text.removeprefix("-").partition(".")
    return f"{'-' * text.startswith('-')}{int(whole):,}{point}{rest}" if whole.isascii() and whole.isdigit() else text


def _day(text: str) -> str:
    """Return a date in words: "31 January 2026". A text that is no date stays."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return text
    return f"{day.day} {day:%B} {day.year}"


def telling_fields(members: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the few members that tell requests apart best, with their labels: names, amounts and ids first."""
    plain = {name: text for name, value in members.items() if (text := _scalar(value).text) and value is not False}
    ranked = sorted(plain, key=lambda name: (_rank(name), isinstance(members[name], bool), list(plain).index(name)))
    return [(readable_name(name), _shortened(plain[name])) for name in ranked[:_MOST_TELLING]]


def _rank(name: str) -> int:
    words = readable_name(name).lower().split()
    return min((_TELLING.index(word) for word in words if word in _TELLING), default=len(_TELLING))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SUMMARY else f"{line[: _LONGEST_SUMMARY - 1]}…"


# --- names in words ---


def readable_name(name: str) -> str:
    """Return a name in words: "Claim id" for `claimId` or `claim_id`. Abbreviations and other texts stay."""
    if not _NAME.fullmatch(name):
        return name
    first, *rest = [word for word in _BOUNDARY.split(name) if word]
    return " ".join([first[:1].upper() + first[1:], *(_lower(word) for word in rest)])


def person(actor: str) -> str:
    """Return the name of an actor without its kind, if it is a user. Other actors keep their kind."""
    return actor.removeprefix("user:")


def _lower(word: str) -> str:
    return word if len(word) > 1 and word.isupper() else word.lower()
