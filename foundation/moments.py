"""Reads times that people type, in the current time zone unless they have an offset."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from foundation import past_times

TIME_RULE: Final = "must be a time such as 2026-01-31 14:00"
RULE: Final = f"{TIME_RULE}, or a span such as 15m, 2h or 7d"
_SPAN_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_SPAN: Final = re.compile(r"(\d{1,4}) ?([mhd])")


def read(text: str, now: datetime) -> datetime:
    """Return the time that `text` means, in UTC: a time, or a span before `now`, such as `15m`, `2h` and `7d`.

    Raises ValueError, and OverflowError for a time that is in no year of UTC.
    """
    if span := _SPAN.fullmatch(text):
        return now - timedelta(**{_SPAN_UNITS[span[2]]: int(span[1])})
    return read_time(text)


def read_time(text: str) -> datetime:
    """Return a time in UTC. `text` is RFC 3339, or a day or a time of the current time zone.

    Raises ValueError, and OverflowError for a time that is in no year of UTC.
    """
    day = parse_date(text)
    at = datetime.combine(day, datetime.min.time()) if day else parse_datetime(text)
    if at is None:
        raise ValueError
    # A time that is in no year of UTC raises OverflowError here, and not in the database.
    return (timezone.make_aware(at) if timezone.is_naive(at) else at).astimezone(UTC)


def read_past(text: str) -> datetime:
    """Return a past time in UTC. `text` is what people write (`foundation.past_times`), in the current time zone.

    Raises ValueError, and OverflowError for a time that is in no year of UTC.
    """
    at = past_times.read_past(text, timezone.localtime())
    return (timezone.make_aware(at) if timezone.is_naive(at) else at).astimezone(UTC)
