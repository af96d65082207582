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

# Selects what finished in a tenant `t`, from two indexes on the tenant and the time, each in the order of that time.
# Failures are read from their dead letters, because a failed execution may have been re-driven since. OFFSET keeps the
# planner from reading all executions instead of looking these up. Smoke tests count for no statistics.
_FINISHED = """
    SELECT e.release_id, date_trunc('minute', e.finished_at) AS minute, e.status FROM executions_execution e
    WHERE e.tenant_id = t.id AND e.finished_at >= span.first AND e.finished_at < span.last
        AND e.status IN ('SUCCEEDED', 'CANCELLED') AND NOT e.smoke {of} {newest_finished}
    ) UNION ALL (
    SELECT e.release_id, date_trunc('minute', d.created_at), d.terminal_status FROM executions_deadletter d
    CROSS JOIN LATERAL (SELECT e.release_id FROM executions_execution e
        WHERE e.id = d.execution_id AND NOT e.smoke {of} OFFSET 0) e
    WHERE d.tenant_id = t.id AND d.created_at >= span.first AND d.created_at < span.last {newest_failed}
"""

_ALL = _FINISHED.format(of="", newest_finished="", newest_failed="")
_NEWEST = _FINISHED.format(
    of="""AND (%(pipeline)s::bigint IS NULL
        OR e.release_id IN (SELECT id FROM releases_release WHERE pipeline_id = %(pipeline)s))""",
    newest_finished="ORDER BY e.finished_at DESC LIMIT %(most)s",
    newest_failed="ORDER BY d.created_at DESC, d.id DESC LIMIT %(most)s",
)

# Counts the executions that finished in each complete minute, by release. It starts a few minutes before the newest
# count, because an execution may be committed some time after its finish time. Counts only grow. An execution that
# failed and was re-driven stays counted, also if it was re-driven before. Safe to run at any time and in several
# processes at once: the rows are locked in one order.
COUNT = f"""
WITH span AS (
    SELECT greatest((SELECT max(minute) FROM executions_finishedcount) - make_interval(mins => %(overlap)s),
            date_trunc('minute', now()) - make_interval(hours => %(hours)s)) AS first,
        date_trunc('minute', now()) AS last
), found AS (
    SELECT f.release_id, f.minute, count(*) FILTER (WHERE f.status = 'SUCCEEDED') AS succeeded,
        count(*) FILTER (WHERE f.status IN ('DLQ', 'FAILED')) AS failed,
        count(*) FILTER (WHERE f.status = 'CANCELLED') AS cancelled
    FROM span CROSS JOIN tenancy_tenant t CROSS JOIN LATERAL (({_ALL})) f
    GROUP BY f.release_id, f.minute
)
INSERT INTO executions_finishedcount AS known (release_id, minute, succeeded, failed, cancelled)
SELECT release_id, minute, succeeded, failed, cancelled FROM found ORDER BY minute, release_id
ON CONFLICT (minute, release_id) DO UPDATE SET succeeded = greatest(known.succeeded, excluded.succeeded),
    failed = greatest(known.failed, excluded.failed), cancelled = greatest(known.cancelled, excluded.cancelled)
"""  # noqa: S608  # nosec B608

# Adds the counts of minutes that no page shows alone to those of their hours, and removes the oldest hours. Safe in
# several processes at once: each row is removed once, by the process that adds it. Minutes that an outage of the clock
# left older than the window stay until they are removed.
SHORTEN = """
WITH removed AS (
    DELETE FROM executions_finishedcount WHERE minute < now() - make_interval(days => %(days)s)
), shortened AS (
    DELETE FROM executions_finishedcount WHERE minute < now() - make_interval(hours => %(hours)s)
        AND minute >= now() - make_interval(hours => %(hours)s + %(window)s)
        AND minute <> date_trunc('hour', minute, 'UTC')
    RETURNING release_id, date_trunc('hour', minute, 'UTC') AS hour, succeeded, failed, cancelled
)
INSERT INTO executions_finishedcount AS known (release_id, minute, succeeded, failed, cancelled)
SELECT release_id, hour, sum(succeeded), sum(failed), sum(cancelled) FROM shortened GROUP BY 1, 2 ORDER BY 2, 1
ON CONFLICT (minute, release_id) DO UPDATE SET succeeded = known.succeeded + excluded.succeeded,
    failed = known.failed + excluded.failed, cancelled = known.cancelled + excluded.cancelled
"""

# Returns what finished of each release: succeeded, failed, cancelled. No row: nothing that is still counted.
FINISHED = """
SELECT release_id, sum(succeeded)::bigint, sum(failed)::bigint, sum(cancelled)::bigint FROM executions_finishedcount
WHERE release_id = ANY(%(releases)s) AND minute >= now() - make_interval(days => %(days)s) GROUP BY release_id
"""

# Returns the executions that finished since a time, by release and interval: succeeded, failed, cancelled. Minutes
# after the newest count are counted here: at most the last %(recent)s minutes, and %(most)s executions of each tenant
# and index.
SERIES = f"""
WITH span AS (
    SELECT greatest((SELECT max(minute) FROM executions_finishedcount) + interval '1 minute', %(since)s,
        date_trunc('minute', now()) - make_interval(mins => %(recent)s)) AS first, 'infinity'::timestamptz AS last
), counted AS (
    SELECT c.release_id, c.minute, c.succeeded, c.failed, c.cancelled FROM executions_finishedcount c
    JOIN releases_release r ON r.id = c.release_id JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE c.minute >= %(since)s AND p.tenant_id = ANY(%(tenants)s)
        AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    UNION ALL
    SELECT f.release_id, f.minute, (f.status = 'SUCCEEDED')::int, (f.status IN ('DLQ', 'FAILED'))::int,
        (f.status = 'CANCELLED')::int
    FROM span CROSS JOIN unnest(%(tenants)s::bigint[]) AS t (id)
    CROSS JOIN LATERAL (({_NEWEST})) f
)
SELECT release_id, date_bin(make_interval(secs => %(seconds)s), minute, %(since)s) AS bucket,
    sum(succeeded)::bigint, sum(failed)::bigint, sum(cancelled)::bigint
FROM counted GROUP BY 1, 2
"""  # noqa: S608  # nosec B608

# Counts the terminal failures of the last day and of the last hour, by release and error code. At most the newest
# %(most)s of each tenant are read, from an index on the tenant and the time. OFFSET keeps the planner from reading all
# executions instead of looking these up.
FAILURES = """
SELECT e.release_id, d.error_code, count(*), count(*) FILTER (WHERE d.created_at >= now() - interval '1 hour') AS hour
FROM unnest(%(tenants)s::bigint[]) AS t (id) CROSS JOIN LATERAL (
    SELECT d.execution_id, d.error_code, d.created_at FROM executions_deadletter d
    WHERE d.tenant_id = t.id AND d.created_at >= now() - interval '1 day'
    ORDER BY d.created_at DESC, d.id DESC LIMIT %(most)s
) d CROSS JOIN LATERAL (
    SELECT e.release_id FROM executions_execution e WHERE e.id = d.execution_id AND NOT e.smoke OFFSET 0
) e
GROUP BY e.release_id, d.error_code ORDER BY hour DESC, d.error_code
"""

# Counts the live executions of each release by status: at most %(most)s of a release, from an index on the live ones.
LIVE = """
SELECT r.id, e.status, count(*) FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
CROSS JOIN LATERAL (
    SELECT e.status FROM executions_execution e WHERE e.release_id = r.id AND NOT e.smoke
        AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(most)s
) e
WHERE p.tenant_id = ANY(%(tenants)s) GROUP BY r.id, e.status
"""


COUNTED_HOURS: Final = 25
MINUTES_KEPT_HOURS: Final = 49
KEPT_DAYS: Final = 31
OVERLAP_MINUTES: Final = 3
RECENT_MINUTES: Final = 10
MOST_RECENT: Final = 20_000
"""How many executions that are not counted yet a page reads, for each tenant."""
OFTEN_PERCENT: Final = 5.0
"""A release with this failure rate, or a greater one, fails often: pages mark it and warn about it."""


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
    def ended(self) -> int:
        """How many succeeded or failed."""
        return self.succeeded + self.failed

    @property
    def failure_rate(self) -> float | None:
        """The share that failed of those that succeeded or failed, in percent. None if there are none."""
        return 100 * self.failed / self.ended if self.ended else None

    @property
    def fails_often(self) -> bool:
        rate = self.failure_rate
        return rate is not None and rate >= OFTEN_PERCENT

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

    @property
    def end(self) -> datetime:
        return self.since + self.count * self.interval

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
    intervals: dict[int, dict[int, Totals]] = field(default_factory=dict)
    """By release and place in the window."""

    def total(self, release_id: int) -> Totals:
        return self.releases.get(release_id, Totals())

    def values(self, member: str, *release_ids: int) -> list[int]:
        """Return what these releases have together in each interval of the window."""
        values = [0] * self.window.count
        for release_id in release_ids:
            for place, totals in self.intervals.get(release_id, {}).items():
                if 0 <= place < len(values):
                    values[place] += getattr(totals, member)
        return values


def count() -> None:
    """Count what finished in complete minutes, and shorten old counts to hours. Idempotent."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(COUNT, {"overlap": OVERLAP_MINUTES, "hours": COUNTED_HOURS})
        cursor.execute(SHORTEN, {"hours": MINUTES_KEPT_HOURS, "window": COUNTED_HOURS, "days": KEPT_DAYS})


def last_hour(tenants: Collection[int], pipeline: int | None = None, *, most: int = MOST_RECENT) -> Series:
    """Return what finished in the last hour in these tenants, by minute, or only that of one pipeline.

    Reads at most `most` executions of each tenant that are not counted yet.
    """
    return _series(tenants, pipeline, Window.until(timezone.now(), timedelta(minutes=1), 60), most)


def last_day(tenants: Collection[int], pipeline: int | None = None) -> Series:
    """Return what finished in the last day, by hour."""
    return _series(tenants, pipeline, Window.until(timezone.now(), timedelta(hours=1), 24), MOST_RECENT)


def _series(tenants: Collection[int], pipeline: int | None, window: Window, most: int) -> Series:
    series = Series(window)
    with connection.cursor() as cursor:
        cursor.execute(
            SERIES,
            {
                "tenants": list(tenants),
                "pipeline": pipeline,
                "since": window.since,
                "seconds": window.interval.total_seconds(),
                "recent": RECENT_MINUTES,
                "most": most,
            },
        )
        for release_id, at, *counts in cursor.fetchall():
            series.releases.setdefault(release_id, Totals()).add(*counts)
            series.intervals.setdefault(release_id, {}).setdefault(window.place(at), Totals()).add(*counts)
    return series


def finished(releases: Collection[int]) -> dict[int, Totals]:
    """Return what finished of each release in the last KEPT_DAYS, up to the newest count of the clock.

    Reads counts alone, with any number of executions.
    """
    totals = {release: Totals() for release in releases}
    with connection.cursor() as cursor:
        cursor.execute(FINISHED, {"releases": list(releases), "days": KEPT_DAYS})
        for release_id, *counts in cursor.fetchall():
            totals[release_id].add(*counts)
    return totals


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
    by_release: dict[int, Failures] = {}
    with connection.cursor() as cursor:
        cursor.execute(FAILURES, {"tenants": list(tenants), "most": MOST_READ})
        for release_id, code, day, hour in cursor.fetchall():
            failures = by_release.setdefault(release_id, Failures())
            failures.last_day += day
            failures.last_hour += hour
            if hour:
                failures.codes.append((code, hour))
    return by_release


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
    errors: dict[int, Counter[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(LIVE, {"tenants": list(tenants), "most": MOST_COUNTED + 1})
        for release_id, status, count in cursor.fetchall():
            errors.setdefault(release_id, Counter())[status] = count
    return {pk: Live(statuses, statuses.total() > MOST_COUNTED) for pk, statuses in errors.items()}
