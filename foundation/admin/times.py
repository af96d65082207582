"""Times on pages: in the time zone of the user, with how long ago they were, and in UTC as a tooltip."""

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))
"""The units of `relative`, from the longest to the shortest. Shorter times are given in seconds."""


def timed(at: datetime | None) -> SafeString | None:
    """Return a `time` element; None for None."""
    if at is None:
        return None
    local = timezone.localtime(at)
    return format_html(
        '<time datetime="{}" title="{} UTC">{} <span class="dc-ago">({})</span></time>',
        at.isoformat(timespec="seconds"),
        format(at.astimezone(UTC), "%Y-%m-%d %H:%M:%S"),
        format(local, "%Y-%m-%d %H:%M:%S %Z"),
        relative(at, timezone.now()),
    )


def relative(at: datetime, now: datetime) -> str:
    """Say how long `at` is before or after `now`, in the longest unit that fits: "3 min ago", "in 2 h"."""
    distance = abs(now - at)
    text = next((f"{distance // unit} {name}" for name, unit in UNITS if distance >= unit), f"{distance.seconds} s")
    return f"{text} ago" if at <= now else f"in {text}"
