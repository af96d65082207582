"""Values as readable fields: facts, lists and tables instead of JSON. Names of the contract in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

DEEPEST: Final = 6
MOST_VALUES: Final = 400
MOST_ROWS: Final = 50
MOST_COLUMNS: Final = 6
LONGEST_TEXT: Final = 2000
_NAME = re.compile(r"[^\W_][\w -]*")
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


def readable(value: Any) -> Readable:
    """Return a JSON value for a page, within the limits of this module."""
    return _Reader().value(value, 0)


class _Reader:
    def __init__(self) -> None:
        self._left = MOST_VALUES

    def value(self, value: Any, depth: int) -> Readable:
        self._left -= 1
        if isinstance(value, Mapping | list) and value and (depth >= DEEPEST or self._left <= 0):
            return Readable(As.MORE)
        if isinstance(value, Mapping):
            return self._facts(value, depth)
        if isinstance(value, list):
            return self._table(value, depth) if _is_table(value) else self._list(value, depth)
        return _scalar(value)

    def _facts(self, value: Mapping[str, Any], depth: int) -> Readable:
        # PostgreSQL does not keep the order of members. Nested ones come last.
        ordered = sorted(value.items(), key=lambda item: (isinstance(item[1], Mapping | list), _rank(item[0])))
        shown = ordered[: max(self._left, 1)]
        if not shown:
            return Readable(As.NOTHING)
        return Readable(
            As.FACTS,
            labels=[readable_name(name) for name, _ in shown],
            values=[self.value(member, depth + 1) for _, member in shown],
            more=len(value) - len(shown),
        )

    def _list(self, value: Sequence[Any], depth: int) -> Readable:
        shown = value[: min(MOST_ROWS, max(self._left, 1))]
        if not shown:
            return Readable(As.NOTHING)
        items = [self.value(item, depth + 1) for item in shown]
        return Readable(As.LIST, values=items, more=len(value) - len(shown))

    def _table(self, value: Sequence[Mapping[str, Any]], depth: int) -> Readable:
        names = list(dict.fromkeys(name for row in value[:MOST_ROWS] for name in row))
        shown = value[: min(MOST_ROWS, max(self._left // len(names), 1))]
        rows = [[self.value(row.get(name), depth + 1) for name in names] for row in shown]
        return Readable(As.TABLE, labels=list(map(readable_name, names)), rows=rows, more=len(value) - len(shown))


def _is_table(value: Sequence[Any]) -> bool:
    """True for a list of objects that have few members, none of them nested."""
    rows = value[:MOST_ROWS]
    if not rows or not all(isinstance(row, Mapping) and row for row in rows):
        return False
    flat = all(not isinstance(member, Mapping | list) for row in rows for member in row.values())
    return flat and len({name for row in rows for name in row}) <= MOST_COLUMNS


def _scalar(value: Any) -> Readable:
    if value is None or value == "":
        return Readable(As.NOTHING)
    if isinstance(value, bool):
        return Readable(As.TEXT, "Yes" if value else "No")
    text = str(value)
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return Readable(As.TIME, text, at=datetime.fromisoformat(value))
        except ValueError:
            pass
    return Readable(As.TEXT, text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…")


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
