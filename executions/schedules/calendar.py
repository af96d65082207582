"""The times of a schedule: a cron expression in a time zone, without the dates of exceptions. Pure.

A template is the input of a schedule: JSON in which whole texts such as `{{scheduledAt}}` stand for values of its time.

Changes of the clock are handled as Debian's cron does. A time that does not exist on a day fires at the end of the gap.
A time that exists twice fires once, at the first of both. Expressions whose minute or hour begins with `*` follow real
time, so they fire in both hours.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

FIELDS: Final = 5
MOST_EXCEPTIONS: Final = 400
CRON_RULE: Final = "must be a cron expression with five fields, such as `30 2 * * MON-FRI`"
ZONE_RULE: Final = "must be the name of a time zone, such as Europe/Berlin"
EXCEPTION_RULE: Final = "must be a date such as 2026-12-24, or a range of dates such as 2026-12-24/2027-01-01"
_EXCEPTION: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:/(\d{4}-\d\d-\d\d))?", re.ASCII)
_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)
_OF_ONE_MACHINE: Final = {"localtime", "Factory"}
"""Names that are in the database of time zones, and mean another zone on another machine, or none."""


@dataclass(frozen=True)
class Calendar:
    """The members of a schedule that decide its times. `starts_at` is included, `ends_at` is not."""

    cron: str
    time_zone: str = "UTC"
    exceptions: Sequence[str] = ()
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def problems(self) -> dict[str, str]:
        """Return the rule that is broken by the name of the member; {} if all members are valid."""
        values = {}
        if not _is_cron(self.cron):
            values["cron"] = CRON_RULE
        if not _is_zone(self.time_zone):
            values["timeZone"] = ZONE_RULE
        if len(self.exceptions) > MOST_EXCEPTIONS:
            values["exceptions"] = f"has more than {MOST_EXCEPTIONS} entries"
        for index, text in enumerate(self.exceptions):
            if _dates(text) is None:
                values[f"exceptions[{index}]"] = EXCEPTION_RULE
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            values["endsAt"] = "must be after startsAt"
        return values

    def times(self, after: datetime) -> Iterator[datetime]:
        """Yield the times after `after`, in UTC and in order. Needs valid members.

        It ends if there is no further time within 50 years.
        """
        last = after.astimezone(UTC)
        if self.starts_at is not None and self.starts_at > last:
            last = self.starts_at.astimezone(UTC) - timedelta(microseconds=1)
        while True:
            skipped_to = None
            for at in self._matching(last):
                if self.ends_at is not None and at >= self.ends_at:
                    return
                skipped_to = self._excluded_until(at)
                if skipped_to is not None:
                    break
                last = at
                yield at
            if skipped_to is None:
                return
            last = skipped_to

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after `after`; None if no time is left."""
        return next(self.times(after), None)

    def upcoming(self, after: datetime, count: int = 5) -> list[datetime]:
        """Return the next times in the time zone of the schedule, at most `count`. None if the system lost the zone."""
        try:
            return [at.astimezone(self.zone) for at in islice(self.times(after), count)]
        except ZoneInfoNotFoundError:
            return []

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def words(self) -> str:
        """The cron expression in words, such as `At 02:30 on every day-of-week from Monday through Friday`."""
        return CronSim(self.cron, _BEGINNING).explain()

    def _matching(self, after: datetime) -> Iterator[datetime]:
        """Yield the times of the expression after `after`, with those of exceptions."""
        last = after
        try:
            for at in self._in_real_time(after) if self._is_by_clock else self._at_fixed_times(after):
                if at > last:  # a gap maps several times to one, and a fold may map a later time to an earlier one
                    last = at
                    yield at
        except (OverflowError, ValueError):  # beyond the last year
            return

    @property
    def _is_by_clock(self) -> bool:
        """True if the expression follows real time."""
        return any(field.startswith("*") for field in self.cron.split()[:2])

    def _at_fixed_times(self, after: datetime) -> Iterator[datetime]:
        for moment in CronSim(self.cron, after.astimezone(self.zone)):
            yield moment.astimezone(UTC)

    def _in_real_time(self, after: datetime) -> Iterator[datetime]:
        """Yield each time after `after` at which the clock shows a time of the expression.

        CronSim adds whole hours, so it may jump over times where the clock changes by half an hour, or not on the
        hour. Here, it only sees the clock between two changes, as if the time zone had one offset.
        """
        since, offset = after, self._offset(after)
        changed_at: datetime | None = after
        while changed_at is not None:
            changed_at = None
            for shown in CronSim(self.cron, (since + offset).replace(tzinfo=None)):
                at = (shown - offset).replace(tzinfo=UTC)
                changed_at = self._first_change(since, at, offset)
                if changed_at is not None:
                    since, offset = changed_at - timedelta(microseconds=1), self._offset(changed_at)
                    break
                since = at
                yield at

    def _first_change(self, after: datetime, until: datetime, offset: timedelta) -> datetime | None:
        """Return the first second with another offset, up to `until`; None without one. Looks at one second a day."""
        low, high = after, min(after + timedelta(days=1), until)
        while high < until and self._offset(high) == offset:
            low, high = high, min(high + timedelta(days=1), until)
        if self._offset(high) == offset:
            return None
        while high - low >= timedelta(seconds=1):
            middle = low + (high - low) / 2
            low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
        return high.replace(microsecond=0)

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self.zone).utcoffset() or timedelta()

    def _excluded_until(self, at: datetime) -> datetime | None:
        """Return the last second of the exception that contains the date of `at`; None if none does."""
        day = at.astimezone(self.zone).date()
        ends = [last for first, last in self._ranges if first <= day <= last]
        if not ends:
            return None
        try:
            return max(at, datetime.combine(max(ends), time(23, 59, 59), self.zone).astimezone(UTC))
        except OverflowError:  # west of Greenwich, the last day ends after the last year
            return _END

    @cached_property
    def _ranges(self) -> list[tuple[date, date]]:
        return [dates for dates in map(_dates, self.exceptions) if dates is not None]


def _is_cron(text: str) -> bool:
    if len(text.split()) != FIELDS or not text.isascii():
        return False
    try:
        return next(CronSim(text, _BEGINNING), None) is not None
    except (CronSimError, OverflowError, ValueError, AssertionError):
        return False


def _is_zone(name: str) -> bool:
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _OF_ONE_MACHINE)


def _dates(text: str) -> tuple[date, date] | None:
    """Return the first and the last date of an exception; None if it is not valid."""
    match = _EXCEPTION.fullmatch(text)
    if match is None:
        return None
    try:
        first = date.fromisoformat(match[1])
        last = date.fromisoformat(match[2] or match[1])
    except ValueError:
        return None
    return (first, last) if first <= last else None


NAMES: Final = ("scheduledAt", "scheduledDate", "scheduleName")
"""The time in UTC, its date in the time zone of the schedule, and the name of the schedule."""
RULE: Final = f"has an unknown name; known: {', '.join(f'{{{{{name}}}}}' for name in NAMES)}"
_PLACE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)


def text_of(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC, such as 2026-12-24T01:30:00Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def expanded(template: Any, *, at: datetime, zone: ZoneInfo, name: str) -> Any:
    """Return the input of the fire at `at`."""
    values = {"scheduledAt": text_of(at), "scheduledDate": at.astimezone(zone).date().isoformat(), "scheduleName": name}
    return _replaced(template, values)


def unknown_places(template: Any, path: str = "input") -> Iterator[str]:
    """Yield the paths of texts that name an unknown value."""
    if isinstance(template, dict):
        for name, value in template.items():
            yield from unknown_places(value, f"{path}.{name}")
    elif isinstance(template, list):
        for index, value in enumerate(template):
            yield from unknown_places(value, f"{path}[{index}]")
    elif isinstance(template, str) and (match := _PLACE.fullmatch(template)) and match[1] not in NAMES:
        yield path


def _replaced(template: Any, values: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {name: _replaced(value, values) for name, value in template.items()}
    if isinstance(template, list):
        return [_replaced(value, values) for value in template]
    match = _PLACE.fullmatch(template) if isinstance(template, str) else None
    return values.get(match[1], template) if match else template
