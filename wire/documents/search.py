"""The fields of its input by whose values the executions of a pipeline can be found. Pure.

An artifact declares them in the member `search` of its declarations: the path of each field, by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

MOST_FIELDS: Final = 8
LONGEST_VALUE: Final = 200
"""How many characters of a text are indexed."""
DIGITS: Final = 60
DECIMALS: Final = 20
"""How many of the `DIGITS` of a number are behind its point. Further ones are rounded."""
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
NAME_RULE: Final = "a name has 1 to 50 letters, digits, '_' and '-', and begins with a letter"
_LONGEST_PATH: Final = 500
_EXACT: Final = Context(prec=DIGITS)
_SMALLEST: Final = Decimal(1).scaleb(-DECIMALS)


class Kind(StrEnum):
    """How the values of a field are compared."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class SearchField:
    """A field that can be searched. `path` has the names of members, from the input to the value."""

    name: str
    path: tuple[str, ...]
    kind: Kind


def wrong_paths(paths: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the paths of fields by their names."""
    if len(paths) > MOST_FIELDS:
        yield f"search names {len(paths)} fields; at most {MOST_FIELDS} can be searched"
    for name, path in paths.items():
        if not NAME.fullmatch(name):
            yield f"search has the name {name!r}; {NAME_RULE}"
        elif not is_path(path):
            yield f"search has the path {path!r}; a path is the names of fields with dots between them"


def is_path(path: Any) -> bool:
    """Return True for names of members with dots between them, such as `customer.id`."""
    return isinstance(path, str) and len(path) <= _LONGEST_PATH and path.isprintable() and all(path.split("."))


def values_of(fields: Iterable[SearchField], value: Any) -> list[dict[str, str]]:
    """Return the values of the fields in an input: the name of each, and its text by its kind.

    A field without a value is left out, and so are an empty text and a number that needs more than `DIGITS`. A text is
    cut at `LONGEST_VALUE` characters. A date is midnight UTC, and a time without an offset is in UTC.
    """
    values = []
    for field in fields:
        member = value
        for name in field.path:
            member = member.get(name) if isinstance(member, Mapping) else None
        if text := read(field.kind, member):
            values.append({"name": field.name, field.kind.value: text})
    return values


def read(kind: Kind, value: Any) -> str | None:
    """Return the text with which a value of this kind is compared; None or an empty text if it is not indexed."""
    if kind is Kind.TEXT:
        if isinstance(value, bool):
            return "true" if value else "false"
        return value[:LONGEST_VALUE] if isinstance(value, str) else None
    if isinstance(value, bool) or value is None:
        return None
    try:
        return _number(value) if kind is Kind.NUMBER else _time(value)
    except (ValueError, TypeError, OverflowError, InvalidOperation):
        return None


def _number(value: Any) -> str | None:
    number = Decimal(str(value)).quantize(_SMALLEST, context=_EXACT)
    return f"{number:f}" if number.is_finite() else None


def _time(value: str) -> str:
    if len(value) == len("2026-01-31"):
        at = datetime.combine(date.fromisoformat(value), time())
    else:
        at = datetime.fromisoformat(value.upper().replace("_", "T"))
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat()
