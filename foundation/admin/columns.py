"""Columns of admin lists: badges, times with their zone, values that can be copied, and details on one line."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

F = TypeVar("F", bound=Callable[..., Any])
LINE_SHOWN = 500


def column(description: str, *, ordering: str | None = None, empty: str | None = None) -> Callable[[F], F]:
    """Return a decorator that makes a method a column."""
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
