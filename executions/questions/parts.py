"""The parts of a form that is generated from a type, the names of their fields in a submitted form, and their times."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

ROOT: Final = "answer"
"""The name of the part that stands for the whole answer."""
ROOT_PATH: Final = "response"
"""The path of the whole answer in problems, as the use case names it."""
DEEPEST: Final = 8
MOST_ITEMS: Final = 50
MOST_PARTS: Final = 400
LONGEST_NUMBER: Final = 1000
"""Types that nest deeper, longer lists, larger forms, and numbers of more digits are edited as JSON."""

Data = Mapping[str, str]
"""A submitted form. A part with the name N has the field N, and markers:

- `N:given`: an optional group or list is present.
- `N:items`: the numbers of a list's items, in order.
- `N:json`: N holds JSON.
- `N:null`: the value is null if nothing is entered.
- `N:empty`: the empty text is meant.
- `N:was`: the text of a time before it was converted to the person's time zone.
"""
Problem = Mapping[str, str]
"""A problem of an answer: `field`, `code` and `message`."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


class Kind(StrEnum):
    """How a part is entered."""

    GROUP = "group"
    LIST = "list"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    TEXT = "text"
    LONG_TEXT = "long text"
    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    DATE = "date"
    DATETIME = "date and time"
    UUID = "uuid"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form.

    `name` is that of its field, and `path` its place in the answer. `text` is what was entered. `parts` are the members
    of a group that is `present`, or the items of a list. `number` is an item's number in its list's field.
    """

    kind: Kind
    name: str
    path: str
    label: str
    required: bool
    text: str = ""
    present: bool = True
    null: bool = False
    empty: bool = False
    was: str = ""
    choices: Sequence[str] = ()
    help: str = ""
    number: str = ""
    member: str = ""
    parts: Sequence["Part"] = ()
    problems: Sequence[str] = ()

    @property
    def is_choice_of_few(self) -> bool:
        return len(self.choices) <= 5

    @property
    def can_grow(self) -> bool:
        return len(self.parts) < MOST_ITEMS

    @property
    def input_type(self) -> str:
        """The type of the HTML input. Dates and times that its browser widget cannot show are entered as text."""
        if self.kind is Kind.DATE and (not self.text or _DATE.fullmatch(self.text)):
            return "date"
        if self.kind is Kind.DATETIME and (not self.text or _MOMENT.fullmatch(self.text)):
            return "datetime-local"
        return "text"

    @property
    def numbers(self) -> str:
        """The value of the marker `items`."""
        return " ".join(part.number for part in self.parts)

    @property
    def options(self) -> list[tuple[str, str]]:
        """The values of a choice's field, with their texts. The field is empty if nothing is chosen."""
        return [(f"={choice}", choice) for choice in self.choices]


def name_of_member(name: str, member: str) -> str:
    """Return the name of a group's member. Dots and colons in `member` are escaped."""
    return f"{name}.{quote(member, safe='').replace('.', '%2E')}"


def name_of_item(name: str, number: str) -> str:
    return f"{name}.{number}"


def may_be_left_out(field: Mapping[str, Any]) -> bool:
    """Return True if nothing need be entered for a field of a record: it is optional, or null stands for nothing."""
    return field.get("optional") is True or field.get("nullable") is True


def marker(name: str, kind: str) -> str:
    return f"{name}:{kind}"


def numbers_in(data: Data, name: str) -> list[str]:
    """Return the numbers of a list's items. Ignores what no form sends."""
    numbers = data.get(marker(name, "items"), "").split()
    return list(dict.fromkeys(each for each in numbers if each.isascii() and each.isdigit() and len(each) < 7))[
        :MOST_ITEMS
    ]


def local_text(text: str, zone: tzinfo) -> str | None:
    """Return an ISO 8601 time for a field, in the time zone; None if it is no time. Times without a zone stay."""
    try:
        moment = datetime.fromisoformat(text)
        local = moment if moment.tzinfo is None else moment.astimezone(zone)
    except (ValueError, OverflowError):
        return None
    return local.replace(tzinfo=None).isoformat(timespec="seconds")


def zoned_text(text: str, zone: tzinfo) -> str | None:
    """Return the ISO 8601 time with its offset that a person entered in the time zone; None if it is no time."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()
    except (ValueError, OverflowError):
        return None


def is_local(text: str, was: str, zone: tzinfo) -> bool:
    """Return True if `text` is what `local_text` made of `was`. Browsers leave out seconds that are 0."""
    local = local_text(was, zone)
    try:
        return local is not None and datetime.fromisoformat(text) == datetime.fromisoformat(local)
    except (ValueError, TypeError):
        return False
