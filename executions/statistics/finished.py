"""Executions that finished, that failed lately and that are live, by release.

The clock counts what finished in each minute (`count`). Pages add the counts up, and read only executions that are
newer than the newest count.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from executions.statistics import statements

COUNTED_HOURS: Final = 25
KEPT_HOURS: Final = 49
OVERLAP_MINUTES: Final = 3
RECENT_MINUTES: Final = 10
MOST_RECENT: Final = 20_000
"""How many executions that are not counted yet a page reads, for each tenant."""


@dataclass(slots=True)
class Totals:
    """How many executions finished, and how."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    @property
    def failure_rate(self) -> float | None:
        """The share that failed of those that succeeded or failed, in percent. None if there are none."""
        ended = self.succeeded + self.failed
        return 100 * self.failed / ended if ended else None

    def add(self, succeeded: int, failed: int, cancelled: int) -> None:
        self.succeeded += succeeded
        self.failed += failed
        self.cancelled += cancelled


@dataclass(frozen=True, slots=True)
class Window:
    """A period of `count` intervals of the same length, which ends with the current one. `since` is its start."""

    since: datetime
    interval: timedelta
    count: int

    @classmethod
    def until(cls, now: datetime, interval: timedelta, count: int) -> "Window":
        first = now - (count - 1) * interval
        start = first.replace(second=0, microsecond=0)
        return cls(start if interval < timedelta(hours=1) else start.replace(minute=0), interval, count)

    def place(self, at: datetime) -> int:
        """Return the number of the interval that contains `at`, from 0."""
        return (at - self.since) // self.interval

    def position(self, at: datetime) -> float:
        return (at - self.since) / self.interval

    def times(self) -> list[datetime]:
        return [self.since + place * self.interval for place in range(self.count)]


@dataclass(frozen=True, slots=True)
class Series:
    """What finished in a window: the totals of each release, and those of each of its intervals."""

    window: Window
    releases: dict[int, Totals] = field(default_factory=dict)
    intervals: dict[tuple[int, int], Totals] = field(default_factory=dict)

    def total(self, release_id: int) -> Totals:
        return self.releases.get(release_id, Totals())

    def values(self, release_id: int, member: str) -> list[int]:
        found = (self.intervals.get((release_id, place)) for place in range(self.window.count))
        return [getattr(totals, member) if totals else 0 for totals in found]


def count() -> None:
    """Count what finished in complete minutes, and forget old counts. Idempotent."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.COUNT, {"overlap": OVERLAP_MINUTES, "hours": COUNTED_HOURS})
        cursor.execute(statements.FORGET, {"hours": KEPT_HOURS})


def last_hour(tenants: Collection[int], pipeline: int | None = None) -> Series:
    """Return what finished in the last hour in these tenants, by minute, or only that of one pipeline."""
    return _series(tenants, pipeline, Window.until(timezone.now(), timedelta(minutes=1), 60))


def last_day(tenants: Collection[int], pipeline: int | None = None) -> Series:
    """Return what finished in the last day, by hour."""
    return _series(tenants, pipeline, Window.until(timezone.now(), timedelta(hours=1), 24))


def _series(tenants: Collection[int], pipeline: int | None, window: Window) -> Series:
    series = Series(window)
    with connection.cursor() as cursor:
        cursor.execute(
            statements.SERIES,
            {
                "tenants": list(tenants),
                "pipeline": pipeline,
                "since": window.since,
                "seconds": window.interval.total_seconds(),
                "recent": RECENT_MINUTES,
                "most": MOST_RECENT,
            },
        )
        for release_id, at, *counts in cursor.fetchall():
            series.releases.setdefault(release_id, Totals()).add(*counts)
            series.intervals.setdefault((release_id, window.place(at)), Totals()).add(*counts)
    return series


MOST_READ: Final = 10_001
"""How many of the newest failures of each tenant are read."""


@dataclass(slots=True)
class Failures:
    """The failures of one release. `codes` has the error codes of the last hour, the most frequent first."""

    last_day: int = 0
    last_hour: int = 0
    codes: list[tuple[str, int]] = field(default_factory=list)


def recent(tenants: Collection[int]) -> dict[int, Failures]:
    """Return the failures of the last day by the id of the release. Smoke tests do not count."""
    found: dict[int, Failures] = {}
    with connection.cursor() as cursor:
        cursor.execute(statements.FAILURES, {"tenants": list(tenants), "most": MOST_READ})
        for release_id, code, day, hour in cursor.fetchall():
            failures = found.setdefault(release_id, Failures())
            failures.last_day += day
            failures.last_hour += hour
            if hour:
                failures.codes.append((code, hour))
    return found


MOST_COUNTED: Final = 10_000
"""How many live executions of each release are counted."""


@dataclass(frozen=True, slots=True)
class Live:
    """How many live executions a release has in each status. `more` is True if it has more than MOST_COUNTED.

    Smoke tests do not count.
    """

    statuses: Counter[str]
    more: bool

    @property
    def total(self) -> int:
        return self.statuses.total()


def live(tenants: Collection[int]) -> dict[int, Live]:
    """Return the live executions by the id of the release, for releases that have any."""
    found: dict[int, Counter[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(statements.LIVE, {"tenants": list(tenants), "most": MOST_COUNTED + 1})
        for release_id, status, count in cursor.fetchall():
            found.setdefault(release_id, Counter())[status] = count
    return {pk: Live(statuses, statuses.total() > MOST_COUNTED) for pk, statuses in found.items()}
