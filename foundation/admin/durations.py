"""Durations on pages, in the two longest units that matter."""

from datetime import timedelta

from foundation.admin.times import UNITS


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
