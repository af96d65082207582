"""Reads past times as people write them: "last Tuesday 14:00", "yesterday 9", "26 November, 2pm", ISO 8601. Pure."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

RULE: Final = "must be a time such as 2026-01-31 14:00, yesterday 9, last Tuesday 14:00, 31 January 2pm or 2 hours ago"
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
                  "november", "december")  # fmt: skip
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO: Final = re.compile(
    r"(?P<count>\d{1,4}|an?) ?(?P<unit>m|h|d|w|min|minutes?|hours?|days?|weeks?)(?P<ago> ago)?", re.ASCII
)
_CLOCK: Final = re.compile(
    r"(?P<hour>\d{1,2})(?:[:.h](?P<minute>\d\d))?(?::(?P<second>\d\d))? ?(?P<half>am|pm)?h?", re.ASCII
)
_NAMED_CLOCKS: Final = {"noon": time(12), "midday": time(12), "midnight": time(0)}
_DAY_MONTH: Final = re.compile(r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)? (?:of )?(?P<month>[a-z]{3,9})\.?", re.ASCII)
_MONTH_DAY: Final = re.compile(r"(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?", re.ASCII)
_LEAP_DAY: Final = datetime.fromisoformat("2000-02-29")
_YEAR: Final = re.compile(r" (?P<year>\d{4})(?= |$)", re.ASCII)
_ZONE: Final = re.compile(r"(?P<time>.+:\d\d) (?P<zone>[a-z]{3,5})", re.ASCII)
_LEAP_CYCLE: Final = 8
"""The most years from a 29 February to the next one."""


def read_past(text: str, now: datetime) -> datetime:
    """Return the time that `text` means. `now` is the present time in the reader's zone.

    A result without a zone is a time of the reader's zone. A day without a time means its beginning. A weekday, a time
    and a day without a year mean the newest one that is not later than `now`; `last` excludes today. Minutes and hours
    are counted as they pass, days and weeks by the calendar. A time may have its weekday and the name of its zone, as
    pages show it, if the zone is UTC or the reader's.

    Raises ValueError and OverflowError.
    """
    words = " ".join(text.casefold().replace(",", " ").split())
    if words == "now":
        return now
    if not words:
        raise ValueError(text)
    if span := _AGO.fullmatch(words):
        return _before(now, span)
    try:
        return datetime.fromisoformat(text.strip().upper())
    except ValueError:
        zoned = _ZONE.fullmatch(words)
        return _in_zone(zoned, now) if zoned else _on_day(*_split(words), now.replace(tzinfo=None))


def _before(now: datetime, span: re.Match[str]) -> datetime:
    unit = _UNITS[span["unit"][0]]
    passed = timedelta(**{unit: 1 if span["count"] in {"a", "an"} else int(span["count"])})
    if unit in {"minutes", "hours"}:
        return now.astimezone(UTC) - passed
    return now.replace(tzinfo=None) - passed


def _in_zone(zoned: re.Match[str], now: datetime) -> datetime:
    """Return the time of a text that ends with the name of a zone. Raises ValueError for an unknown one."""
    is_utc = zoned["zone"] in {"utc", "gmt"}
    local = now.astimezone(UTC) if is_utc else now
    found = _on_day(*_split(zoned["time"]), local.replace(tzinfo=None)).replace(tzinfo=local.tzinfo)
    names = {(found.replace(fold=fold).tzname() or "").casefold(): fold for fold in (1, 0)}
    if not is_utc and zoned["zone"] not in names:
        raise ValueError(zoned["zone"])
    return found.replace(fold=names.get(zoned["zone"], 0)).astimezone(UTC)


def _split(words: str) -> tuple[str, str]:
    """Return the words of the day and those of the time; "" for what is missing."""
    day, _, clock = words.rpartition(" at ") if " at " in words else ("", "", words.removeprefix("at "))
    if day or _is_clock(clock):
        return day, clock
    parts = clock.split(" ")
    for length in (2, 1):  # the longest end or beginning that is a time: "2 pm" before "pm"
        for day, clock in (
            (" ".join(parts[:-length]), " ".join(parts[-length:])),
            (" ".join(parts[length:]), " ".join(parts[:length])),
        ):
            if _is_clock(clock) and _is_day(day):
                return day, clock
    return words, ""


def _is_clock(words: str) -> bool:
    return words in _NAMED_CLOCKS or _CLOCK.fullmatch(words) is not None


def _clock(words: str) -> time:
    if words in _NAMED_CLOCKS:
        return _NAMED_CLOCKS[words]
    found = _CLOCK.fullmatch(words)
    if found is None:
        raise ValueError(words)
    hour = int(found["hour"])
    if found["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(words)
        hour = hour % 12 + (12 if found["half"] == "pm" else 0)
    return time(hour, int(found["minute"] or 0), int(found["second"] or 0))


def _is_day(words: str) -> bool:
    try:
        _on_day(words, "", _LEAP_DAY)
    except ValueError:
        return False
    return bool(words)


def _on_day(words: str, at: str, now: datetime) -> datetime:
    """Return the time of day `at` of the day that `words` name; of the newest day for an empty text."""
    clock = _clock(at) if at else time(0)
    today = datetime.combine(now.date(), clock)
    named: dict[str, Callable[[], datetime]] = {
        "": lambda: today if today <= now else today - timedelta(days=1),
        "today": lambda: today,
        "yesterday": lambda: today - timedelta(days=1),
        "the day before yesterday": lambda: today - timedelta(days=2),
    }
    if words in named:
        return named[words]()
    if (span := _AGO.fullmatch(words)) and span["ago"] and span["unit"][0] in "dw":
        return datetime.combine(_before(now, span).date(), clock)
    is_last, name = words.startswith("last "), words.removeprefix("last ").removeprefix("on ")
    if (weekday := _place(name, _DAYS)) is not None:
        back = (now.weekday() - weekday) % 7
        if back == 0 and (is_last or today > now):
            back = 7
        return today - timedelta(days=back)
    try:
        return datetime.combine(datetime.fromisoformat(name), clock)
    except ValueError:
        return _in_year(name, now, clock)


def _in_year(words: str, now: datetime, clock: time) -> datetime:
    """Return the time of a day such as "26 November 2025", "Nov 26" or "Thu 26 Nov", whose weekday must be right."""
    first, _, rest = words.partition(" ")
    weekday = _place(first, _DAYS)
    words = words if weekday is None else rest
    year = _YEAR.search(words)
    name = words if year is None else words.replace(year[0], "", 1)
    found = _DAY_MONTH.fullmatch(name) or _MONTH_DAY.fullmatch(name)
    month = found and _place(found["month"], _MONTHS)
    if found is None or month is None:
        raise ValueError(words)
    years = [int(year["year"])] if year else range(now.year, now.year - _LEAP_CYCLE - 1, -1)
    for each in years:
        try:
            at = datetime.combine(date(each, month + 1, int(found["day"])), clock)
        except ValueError:
            continue  # 29 February
        if (year or at <= now) and weekday in {None, at.weekday()}:
            return at
    raise ValueError(words)


def _place(word: str, names: tuple[str, ...]) -> int | None:
    """Return the place of the name that `word` begins with three letters or more; None if none does."""
    if len(word) < 3:
        return None
    return next((place for place, name in enumerate(names) if name.startswith(word)), None)
