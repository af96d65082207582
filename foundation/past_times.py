"""Reads past times as people write them: "last Tuesday 14:00", "yesterday 9", "26 November, 2pm", ISO 8601. Pure."""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

RULE: Final = "must be a time such as 2026-01-31 14:00, yesterday 9, last Tuesday 14:00, 31 January 2pm or 2 hours ago"
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
                  "november", "december")  # fmt: skip
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MONTHS_IN: Final = {"month": 1, "year": 12}
_AGO: Final = re.compile(
    r"(?P<count>\d{1,4}|an?) ?(?P<unit>m|h|d|w|min|minutes?|hours?|days?|weeks?|months?|years?)(?P<ago> ago)?", re.ASCII
)
_LAST: Final = re.compile(r"\blast (week|month|year)\b")
_YEAR_FIRST: Final = re.compile(r"(?P<year>\d{4})(?P<mark>[-./])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})", re.ASCII)
_NUMBERS: Final = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[-./])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{0,4})", re.ASCII
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


class AmbiguousTime(ValueError):
    """A text that may mean several days. The message says how to write one of them."""


def rule_of(error: Exception) -> str:
    """Return what a text must be for which `read_past` raised `error`."""
    return str(error) if isinstance(error, AmbiguousTime) else RULE


def read_past(text: str, now: datetime) -> datetime:
    """Return the time that `text` means. `now` is the present time in the reader's zone.

    A result without a zone is a time of the reader's zone. A day without a time means its beginning. A weekday, a time
    and a day without a year mean the newest one that is not later than `now`; `last` excludes today. Minutes and hours
    are counted as they pass, longer units by the calendar, and `last week` is a week ago. A day in numbers has its day
    first if it has dots, or its year first. A time may have its weekday and the name of its zone, as pages show it, if
    the zone is UTC or the reader's.

    Raises ValueError, which is `AmbiguousTime` for days such as 1/12/2026, and OverflowError.
    """
    words = _LAST.sub(r"1 \1 ago", " ".join(text.casefold().replace(",", " ").split()))
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
    count = 1 if span["count"] in {"a", "an"} else int(span["count"])
    if months := _MONTHS_IN.get(span["unit"].removesuffix("s")):
        return _months_before(now.replace(tzinfo=None), count * months)
    unit = _UNITS[span["unit"][0]]
    passed = timedelta(**{unit: count})
    if unit in {"minutes", "hours"}:
        return now.astimezone(UTC) - passed
    return now.replace(tzinfo=None) - passed


def _is_by_calendar(unit: str) -> bool:
    return unit[0] in "dw" or unit.removesuffix("s") in _MONTHS_IN


def _months_before(now: datetime, months: int) -> datetime:
    """Return the same day of an earlier month, or its last day if it is shorter."""
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    return now.replace(year=year, month=month + 1, day=min(now.day, monthrange(year, month + 1)[1]))


def _in_zone(zoned: re.Match[str], now: datetime) -> datetime:
    """Return the time of a text that ends with the name of a zone. Raises ValueError for an unknown one."""
    is_utc = zoned["zone"] in {"utc", "gmt"}
    local = now.astimezone(UTC) if is_utc else now
    moment = _on_day(*_split(zoned["time"]), local.replace(tzinfo=None)).replace(tzinfo=local.tzinfo)
    names = {(moment.replace(fold=fold).tzname() or "").casefold(): fold for fold in (1, 0)}
    if not is_utc and zoned["zone"] not in names:
        raise ValueError(zoned["zone"])
    return moment.replace(fold=names.get(zoned["zone"], 0)).astimezone(UTC)


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
    match = _CLOCK.fullmatch(words)
    if match is None:
        raise ValueError(words)
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(words)
        hour = hour % 12 + (12 if match["half"] == "pm" else 0)
    return time(hour, int(match["minute"] or 0), int(match["second"] or 0))


def _is_day(words: str) -> bool:
    try:
        _on_day(words, "", _LEAP_DAY)
    except AmbiguousTime:
        return True
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
    if (span := _AGO.fullmatch(words)) and span["ago"] and _is_by_calendar(span["unit"]):
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
    words = _in_words(words if weekday is None else rest)
    year = _YEAR.search(words)
    name = words if year is None else words.replace(year[0], "", 1)
    match = _DAY_MONTH.fullmatch(name) or _MONTH_DAY.fullmatch(name)
    month = match and _place(match["month"], _MONTHS)
    if match is None or month is None:
        raise ValueError(words)
    years = [int(year["year"])] if year else range(now.year, now.year - _LEAP_CYCLE - 1, -1)
    for candidate in years:
        try:
            at = datetime.combine(date(candidate, month + 1, int(match["day"])), clock)
        except ValueError:
            continue  # 29 February
        if (year or at <= now) and weekday in {None, at.weekday()}:
            return at
    raise ValueError(words)


def _in_words(words: str) -> str:
    """Return a day in numbers as "1 december 2026", and other words as they are. Raises `AmbiguousTime`."""
    if match := _YEAR_FIRST.fullmatch(words):
        return _day_in_words(int(match["day"]), int(match["month"]), match["year"])
    match = _NUMBERS.fullmatch(words)
    if match is None:
        return words
    first, second, year = int(match["first"]), int(match["second"]), match["year"]
    if year and len(year) != 4:
        raise AmbiguousTime("must have a year of four digits, such as 2026-01-31")
    readings = [(first, second)] if match["mark"] == "." or first == second else [(first, second), (second, first)]
    days = [_day_in_words(*reading, year) for reading in readings if reading[1] <= len(_MONTHS)]
    if len(days) > 1:
        raise AmbiguousTime(f"must have one meaning: write {' or '.join(day.title() for day in days)}")
    return "".join(days)


def _day_in_words(day: int, month: int, year: str) -> str:
    """Return a day as the patterns of days read it. Raises ValueError if there is no such month."""
    if not 1 <= month <= len(_MONTHS):
        raise ValueError(month)
    return f"{day} {_MONTHS[month - 1]} {year}".strip()


def _place(word: str, names: tuple[str, ...]) -> int | None:
    """Return the place of the name that `word` begins with three letters or more; None if none does."""
    if len(word) < 3:
        return None
    return next((place for place, name in enumerate(names) if name.startswith(word)), None)
