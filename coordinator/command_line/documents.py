"""A JSON document as people read it: its facts with labels, then a section or a table for each larger part."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from coordinator.command_line.texts import clean, shown
from foundation.sentences import joined
from foundation.spans import relative

DATA: Final = frozenset(
    {"contract", "data", "declarations", "declared", "descriptor", "effective", "expectedResult", "input", "item"}
    | {"request", "response", "summary", "transportMetadata"}
)
"""Members whose own members are data of authors and callers. Their names stay as they are."""
_NAME: Final = re.compile(r"[a-z][A-Za-z]*")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
LONGEST_LINE: Final = 80
"""Lists and objects that are longer than this, in characters, get a section."""
MOST_COLUMNS: Final = 9
MOST_EXACT: Final = 1e6
"""Fractions below it have six digits. `%g` writes larger ones with an exponent."""


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, which may be empty, and rows: a table if there are titles. `depth` counts the sections around it."""

    depth: int
    heading: str
    rows: Sequence[Sequence[str]]
    titles: Sequence[str] = ()


def blocks(document: Mapping[str, Any], now: datetime) -> Iterator[Block]:
    """Yield the blocks of a document. Empty texts are left out. Times say how long before or after `now` they are."""
    yield from _Reader(now).section("", document, 0, is_data=False)


def label(name: str) -> str:
    """Return the label of a member: "Release version" for `releaseVersion`. Other names, of data, stay as they are."""
    words = _words(name)
    return words[0].upper() + words[1:] if _NAME.fullmatch(name) else words


def _words(name: str) -> str:
    if not _NAME.fullmatch(name):
        return clean(name)
    return re.sub(r"[A-Z]", lambda capital: f" {capital[0].lower()}", name.removesuffix("Index"))


def _counts_from_zero(name: str) -> bool:
    """True if the API counts the member from 0, as people do not."""
    return name in {"attempt", "step"} or name.endswith("Index")


class _Reader:
    def __init__(self, now: datetime) -> None:
        self._now = now

    def section(self, heading: str, document: Mapping[str, Any], depth: int, *, is_data: bool) -> Iterator[Block]:
        """Yield the facts of an object below the heading, and then its larger parts."""
        facts, parts = [], []
        for name, value in document.items():
            title = clean(name) if is_data else label(name)
            if _counts_from_zero(name) and type(value) is int and not is_data:
                value += 1
            line = self._line(value, is_data or name in DATA)
            if line is None:
                parts.append((title, value, is_data or name in DATA))
            elif value != "":
                facts.append((title, f"{line}{self._distance(value)}"))
        if heading or facts:
            yield Block(depth, heading, facts)
        for title, value, has_data in parts:
            yield from self._part(title, value, depth + bool(heading), is_data=has_data)

    def _part(self, title: str, value: Any, depth: int, *, is_data: bool) -> Iterator[Block]:
        if isinstance(value, dict):
            yield from self.section(title, value, depth, is_data=is_data)
        elif isinstance(value, str):
            yield Block(depth, title, [(clean(line),) for line in value.splitlines()])
        elif any(isinstance(item, dict) for item in value):
            yield from self._objects(title, value, depth, is_data=is_data)
        else:
            yield Block(depth, title, [(shown(item),) for item in value])

    def _objects(self, title: str, items: Sequence[Any], depth: int, *, is_data: bool) -> Iterator[Block]:
        """Yield a table of the objects if each member fits a cell, or else a section for each."""
        objects = [item if isinstance(item, dict) else {"value": item} for item in items]
        every = dict.fromkeys(name for item in objects for name in item)
        names = [name for name in every if any(item.get(name) not in (None, "", [], {}) for item in objects)]
        rows = [[self._line(item.get(name), is_data or name in DATA) for name in names] for item in objects]
        if 0 < len(names) <= MOST_COLUMNS and all(cell is not None for row in rows for cell in row):
            titles = [clean(name) if is_data else label(name).upper() for name in names]
            yield Block(depth, title, [[cell or "" for cell in row] for row in rows], titles)
            return
        for number, item in enumerate(objects, 1):
            yield from self.section(f"{title}, {number} of {len(objects)}", item, depth, is_data=is_data)

    def _line(self, value: Any, is_data: bool) -> str | None:
        """Return a value in one line, or None if it needs a separate part."""
        if isinstance(value, str):
            return None if "\n" in value.strip() else shown(value.strip())
        if isinstance(value, float) and abs(value) < MOST_EXACT:
            return f"{value:.6g}"
        if not isinstance(value, dict | list):
            return shown(value)
        if not value:
            return "-"
        line = self._of_list(value) if isinstance(value, list) else self._of_object(value, is_data)
        return line if line is None or len(line) <= LONGEST_LINE else None

    def _of_list(self, values: Sequence[Any]) -> str | None:
        """Return texts and counts in one line: "SUCCEEDED 3, FAILED 1" for objects of a name and its `count`."""
        parts = [_counted(value) if isinstance(value, dict) else shown(value) for value in values]
        if any(part is None or isinstance(value, list) for part, value in zip(parts, values, strict=True)):
            return None
        return joined(part or "-" for part in parts)

    def _of_object(self, value: Mapping[str, Any], is_data: bool) -> str | None:
        lines = [
            None if isinstance(each, dict | list) and each else self._line(each, is_data) for each in value.values()
        ]
        if any(line is None for line in lines):
            return None
        names = [clean(name) if is_data else _words(name) for name in value]
        return ", ".join(f"{name} {line or '-'}" for name, line in zip(names, lines, strict=True))

    def _distance(self, value: Any) -> str:
        """Return how long before or after now a time is, in brackets; empty for other values."""
        if not isinstance(value, str) or not _MOMENT.fullmatch(value):
            return ""
        try:
            return f" ({relative(datetime.fromisoformat(value), self._now)})"
        except (ValueError, OverflowError):
            return ""


def _counted(value: Mapping[str, Any]) -> str | None:
    names = [name for name in value if name != "count"]
    if len(names) != 1 or len(value) != 2 or not isinstance(value[names[0]], str):
        return None
    return f"{shown(value[names[0]])} {shown(value['count'])}"
