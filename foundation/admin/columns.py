"""Columns of admin lists: badges, times with their zone, values that can be copied, and details on one line."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from django import forms
from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

F = TypeVar("F", bound=Callable[..., Any])
LINE_SHOWN = 500


def column(description: str, *, ordering: str | None = None, empty: str | None = None) -> Callable[[F], F]:
    return admin.display(description=description, ordering=ordering, empty_value=empty)


def badge(
    description: str, variants: Mapping[str, str], *, ordering: str | None = None, empty: str | None = None
) -> Callable[[F], F]:
    """Return a decorator that makes a method a column of labels. `variants` maps their texts to colours."""

    def decorate(function: F) -> F:
        setattr(function, "label", dict(variants))  # noqa: B010 - what unfold's `display` sets, which has no types
        return admin.display(description=description, ordering=ordering, empty_value=empty)(function)

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


def copyable(value: SafeString, label: str) -> SafeString:
    """Return an element and a button that copies its text. `label` names the button."""
    return format_html(
        '<span class="dc-copy">{}<button type="button" title="Copy" aria-label="{}" data-copy>'
        '<span aria-hidden="true" class="material-symbols-outlined">content_copy</span></button></span>',
        value,
        label,
    )


UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))
"""The units of `relative`, from the longest to the shortest. Shorter times are given in seconds."""


def timed(at: datetime | None) -> SafeString | None:
    """Return a `time` element; None for None."""
    if at is None:
        return None
    local = timezone.localtime(at)
    return format_html(
        '<time datetime="{}" title="{}">{} <span class="dc-ago">({})</span></time>',
        at.isoformat(timespec="seconds"),
        f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        format(local, "%Y-%m-%d %H:%M:%S %Z"),
        relative(at, timezone.now()),
    )


def relative(at: datetime, now: datetime) -> str:
    """Say how long `at` is before or after `now`, in the longest unit that fits: "3 min ago", "in 2 h"."""
    distance = abs(now - at)
    text = next((f"{distance // unit} {name}" for name, unit in UNITS if distance >= unit), f"{distance.seconds} s")
    return f"{text} ago" if at <= now else f"in {text}"


def lasting(span: timedelta) -> str:
    """Say how long `span` is: "85 ms", "3.2 s", "4 min 10 s", "2 d 3 h"."""
    if span < timedelta(seconds=1):
        return f"{max(span, timedelta()) // timedelta(milliseconds=1)} ms"
    if span < timedelta(minutes=1):
        return f"{span.total_seconds():.1f} s"
    units = (*UNITS, ("s", timedelta(seconds=1)))
    place = next(n for n, (_, unit) in enumerate(units) if span >= unit)
    (name, unit), (smaller_name, smaller) = units[place], units[place + 1]
    rest = span % unit // smaller
    return f"{span // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")


class MomentField(forms.DateTimeField):
    """Returns the moment in UTC. Moments that are in no year of UTC are invalid, because PostgreSQL rejects them."""

    def to_python(self, value: Any) -> datetime | None:
        at = super().to_python(value)
        try:
            return at.astimezone(UTC) if at else None
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
