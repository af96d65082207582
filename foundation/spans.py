"""Spans of time in words. Pure."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

UNITS: Final = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))
"""The units of spans, from the longest to the shortest. Shorter times are given in seconds."""
_SECOND: Final = ("s", timedelta(seconds=1))
_UNIT_PAIRS: Final = tuple(pairwise((*UNITS, _SECOND)))


def lasting(span: timedelta) -> str:
    """Say how long `span` is: "85 ms", "3.2 s", "4 min 10 s", "2 d 3 h"."""
    if span < timedelta(seconds=1):
        return f"{max(span, timedelta()) // timedelta(milliseconds=1)} ms"
    if span < timedelta(minutes=1):
        return f"{span.total_seconds():.1f} s"
    place = 0
    while span < UNITS[place][1]:
        place += 1
    (name, unit), (rest_name, rest_unit) = _UNIT_PAIRS[place]
    rest = span % unit // rest_unit
    return f"{span // unit} {name}" + (f" {rest} {rest_name}" if rest else "")


def relative(at: datetime, now: datetime) -> str:
    """Say how long `at` is before or after `now`: "3 min ago", "in 2 h".

    Past times are rounded to the nearest, and future ones down, because a deadline is never later than shown. The unit
    is the longest one that gives at least two, so 119 minutes are not "1 h". `relative` in live.js has the same rule.
    """
    distance = abs(now - at)
    name, unit = next(((name, unit) for name, unit in UNITS if distance >= 2 * unit), _SECOND)
    return f"{(distance + unit / 2) // unit} {name} ago" if at <= now else f"in {distance // unit} {name}"
