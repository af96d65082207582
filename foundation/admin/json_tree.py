"""JSON as nested elements that open and close, with colours by type. All text of the value is escaped."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

MOST_NODES = 2_000
LONGEST_TEXT = 2_000
MOST_TEXT = 100_000
"""How many characters of names, texts and numbers are shown together."""
DEEPEST = 40
OPEN_DEPTH = 2
"""Objects and arrays that are nested deeper are closed at first."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The elements of a value. `cut` is true if they do not show all of it."""

    html: SafeString
    cut: bool


def tree(value: Any, name: str) -> Tree:
    """Return the elements of a JSON value. `name` begins the ids of its parts, so that focus stays when it changes."""
    drawing = _Drawing()
    return Tree(drawing.node(value, SafeString(""), name, 0), drawing.cut)


class _Drawing:
    def __init__(self) -> None:
        self.cut = False
        self._nodes = 0
        self._length = 0

    def node(self, value: Any, label: SafeString, name: str, depth: int) -> SafeString:
        self._nodes += 1
        if isinstance(value, dict) and value:
            return self._nested(value.items(), len(value), "{}", label, name, depth)
        if isinstance(value, list) and value:
            return self._nested(enumerate(value), len(value), "[]", label, name, depth)
        return format_html('<div class="dc-j-leaf">{}{}</div>', label, self._scalar(value))

    def _nested(
        self, items: Iterable[tuple[Any, Any]], count: int, brackets: str, label: SafeString, name: str, depth: int
    ) -> SafeString:
        if depth >= DEEPEST:
            self.cut = True
            return format_html('<div class="dc-j-leaf">{}{}…{}</div>', label, *brackets)
        inside = format_html_join("", "{}", ((each,) for each in self._children(items, brackets, name, depth)))
        parts = (label, brackets[0], count, "member" if brackets == "{}" else "item", "" if count == 1 else "s")
        summary = format_html('{}{} <span class="dc-quiet">{} {}{}</span>', *parts)
        return format_html(
            '<details class="dc-j" id="{}"{}><summary>{}</summary>'
            '<div class="dc-j-inside">{}</div><div>{}</div></details>',
            name,
            SafeString(" open") if depth < OPEN_DEPTH else "",
            summary,
            inside,
            brackets[1],
        )

    def _children(self, items: Iterable[tuple[Any, Any]], brackets: str, name: str, depth: int) -> Iterable[SafeString]:
        for place, (key, value) in enumerate(items):
            if self._nodes >= MOST_NODES or self._length >= MOST_TEXT:
                self.cut = True
                yield format_html('<div class="dc-j-leaf dc-quiet">{}</div>', "…")
                return
            yield self.node(
                value, self._label(key) if brackets == "{}" else SafeString(""), f"{name}-{place}", depth + 1
            )

    def _label(self, key: str) -> SafeString:
        return format_html('<span class="dc-j-key">{}</span>: ', self._text(key))

    def _scalar(self, value: Any) -> SafeString:
        if isinstance(value, str):
            return format_html('<span class="dc-j-text">{}</span>', self._text(value))
        if value in ({}, []):
            return format_html("<span>{}</span>", self._text(value))
        kind = "word" if value is None or isinstance(value, bool) else "number"
        return format_html('<span class="dc-j-{}">{}</span>', kind, self._text(value))

    def _text(self, value: Any) -> str:
        """Return a name, a text, a number or a word as JSON. Long ones are cut."""
        text = json.dumps(value, ensure_ascii=False)
        self._length += min(len(text), LONGEST_TEXT)
        if len(text) <= LONGEST_TEXT:
            return text
        self.cut = True
        return f"{text[:LONGEST_TEXT]}… ({len(text):,} characters)"
