"""What admin pages show: badges, times with their zone, values to copy, and JSON as nested elements."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, TypeVar

from django import forms
from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from foundation.plurals import counted
from foundation.spans import relative

F = TypeVar("F", bound=Callable[..., Any])
LINE_SHOWN = 500


def column(description: str, *, ordering: str | None = None, empty: str | None = None) -> Callable[[F], F]:
    return admin.display(description=description, ordering=ordering, empty_value=empty)


LABEL_COLOURS: Final = {
    "info": "bg-blue-100 text-blue-700 dark:bg-blue-500/20 dark:text-blue-400",
    "danger": "bg-red-100 text-red-700 dark:bg-red-500/20 dark:text-red-400",
    "warning": "bg-orange-100 text-orange-700 dark:bg-orange-500/20 dark:text-orange-400",
    "success": "bg-green-100 text-green-700 dark:bg-green-500/20 dark:text-green-400",
    "primary": "bg-primary-100 text-primary-700 dark:bg-primary-500/20 dark:text-primary-400",
    "default": "bg-base-500/8 text-base-700 dark:bg-base-500/20 dark:text-base-200",
}


def label(text: Any, variant: str) -> SafeString:
    """Return a label as unfold draws it, without rendering unfold's template: lists have hundreds of them."""
    return format_html(
        '<span class="inline-block font-semibold rounded-default text-[11px] uppercase whitespace-nowrap '
        'h-6 leading-6 px-2 {}">{}</span>',
        LABEL_COLOURS.get(variant, LABEL_COLOURS["default"]),
        text,
    )


def badge(
    description: str, variants: Mapping[str, str], *, ordering: str | None = None
) -> Callable[[Callable[[Any, Any], str | None]], Callable[[Any, Any], SafeString | None]]:
    """Return a decorator that makes a method a column of labels. `variants` maps their texts to colours."""

    def decorate(function: Callable[[Any, Any], str | None]) -> Callable[[Any, Any], SafeString | None]:
        @admin.display(description=description, ordering=ordering)
        @wraps(function)
        def labelled(page: Any, row: Any) -> SafeString | None:
            text = function(page, row)
            return label(text, variants.get(text, "default")) if text else None

        return labelled

    return decorate


def moment(at: datetime | None) -> str:
    """Format a time with seconds and its zone; "" for None."""
    return "" if at is None else timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S %Z")


def precise(at: datetime) -> str:
    """Format a time with milliseconds and its zone."""
    local = timezone.localtime(at)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {local:%Z}"


def on_one_line(data: Any) -> str:
    """Return an event's details, without the traceback, which has many lines."""
    members = data.items() if isinstance(data, dict) else ()
    text = ", ".join(
        f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in members if name != "traceback"
    )
    return text if len(text) <= LINE_SHOWN else text[:LINE_SHOWN] + "…"


def rectangle(x: float, y: float, width: float, height: float) -> str:
    """Return a part of an SVG path, rounded to hundredths. A path draws many bars faster than an element for each."""
    x, y, width, height = round(x, 2), round(y, 2), round(width, 2), round(height, 2)
    return f"M{x} {y}h{width}v{height}h-{width}z"


def copyable(value: SafeString, label: str) -> SafeString:
    """Return an element and a button that copies its text. `label` names the button."""
    return format_html(
        '<span class="dc-copy">{}<button type="button" title="Copy" aria-label="{}" data-copy>'
        '<span aria-hidden="true" class="material-symbols-outlined">content_copy</span></button></span>',
        value,
        label,
    )


def cut(text: str, most: int = 24) -> SafeString:
    """Return the text. If it is longer than `most` characters, the middle is hidden, because keys differ at their ends.

    The whole text stays in the element, so that it can be copied, read aloud and found.
    """
    if len(text) <= most:
        return format_html("{}", text)
    head = most // 2
    return format_html(
        '<span title="{}">{}<span class="dc-cut"><span>{}</span></span>{}</span>',
        text,
        text[:head],
        text[head : head - most],
        text[head - most :],
    )


def class_name(name: str) -> SafeString:
    """Return the name of a class. If it does not fit, it breaks between its words, and not in one of them."""
    return format_html_join("", "{}<wbr>", ((word,) for word in re.split(r"(?<=[._])|(?<=[a-z])(?=[A-Z])", name)))


def timed(at: datetime | None) -> SafeString | None:
    """Return a `time` element with the time and how long ago it was; None for None.

    In tables, admin.css shows how long ago, and the time only to screen readers and with the pointer. live.js keeps
    it current.
    """
    if at is None:
        return None
    shown, exact = moment(at), f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html(
        '<time datetime="{}" title="{}"><span class="dc-at">{}</span> <span class="dc-ago">{}</span></time>',
        at.isoformat(timespec="seconds"),
        exact if shown == exact else f"{shown}, {exact}",
        shown,
        relative(at, timezone.now()),
    )


class MomentField(forms.DateTimeField):
    """Returns the moment in UTC. Moments that are in no year of UTC are invalid, because PostgreSQL rejects them."""

    def to_python(self, value: Any) -> datetime | None:
        at = super().to_python(value)
        try:
            return at.astimezone(UTC) if at else None
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


MOST_NODES = 2_000
LONGEST_TEXT = 2_000
MOST_TEXT = 100_000
"""How many characters of names, texts and numbers are shown together."""
DEEPEST = 40
OPEN_DEPTH = 2
"""Objects and arrays that are nested deeper are closed at first."""


@dataclass(frozen=True, slots=True)
class JsonTree:
    """The elements of a value. `cut` is true if they do not show all of it."""

    html: SafeString
    cut: bool


def json_tree(value: Any, name: str) -> JsonTree:
    """Return the elements of a JSON value, with colours by type. All of its text is escaped.

    `name` begins the ids of its parts, so that focus stays when it changes.
    """
    drawing = _Drawing()
    return JsonTree(drawing.node(value, SafeString(""), name, 0), drawing.cut)


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
        inside = format_html_join("", "{}", ((child,) for child in self._children(items, brackets, name, depth)))
        size = counted(count, "member" if brackets == "{}" else "item")
        summary = format_html('{}{} <span class="dc-quiet">{}</span>', label, brackets[0], size)
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
