"""The status of the installation: its processes, what it depends on, and what waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from coordinator import health, pending_migrations
from coordinator.models import Process
from coordinator.monitoring import statements
from coordinator.monitoring.gauges import MOST_DUE, MOST_RELEASES
from coordinator.monitoring.reports import INTERVAL, version
from executions.workers import message_path
from foundation.database.bounded import time_limit

READ_SECONDS: Final = 3.0
SILENT_AFTER: Final = 3 * INTERVAL
"""Seconds without a report after which a process counts as silent."""
LARGEST_DRIFT: Final = 2.0
"""Seconds by which a clock may differ. Signed messages tolerate more, but times on pages would be wrong."""


class Part(StrEnum):
    """Whether a part on which the installation depends answers."""

    UP = "UP"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True)
class Reported:
    """A process, as it last reported itself."""

    kind: Process.Kind
    host: str
    pid: int
    version: str
    started_at: datetime
    reported_at: datetime
    silent_seconds: float
    drift_seconds: float

    @property
    def is_silent(self) -> bool:
        return self.silent_seconds > SILENT_AFTER

    @property
    def drifts(self) -> bool:
        return abs(self.drift_seconds) > LARGEST_DRIFT


@dataclass(frozen=True, slots=True)
class Queue:
    """The due executions of one release. `count` is at most MOST_DUE. `hosted` says whether a worker may run them."""

    tenant: str
    pipeline_id: str
    release_version: str
    count: int
    oldest_due_at: datetime
    hosted: bool

    @property
    def is_more(self) -> bool:
        return self.count >= MOST_DUE


@dataclass(frozen=True, slots=True)
class Status:
    """`missing` are the kinds without a process that reports itself. `migrations` are those that were not applied.

    `outcome_delay` is by how many seconds outcomes are read late, 0 if they are in time.
    """

    version: str
    database: Part
    broker: Part
    store: Part
    processes: Sequence[Reported]
    queues: Sequence[Queue]
    migrations: Sequence[str]
    outcome_delay: float

    @property
    def missing(self) -> list[Process.Kind]:
        reporting = {each.kind for each in self.processes if not each.is_silent}
        return [kind for kind in Process.Kind if kind not in reporting]


def status(tenant: str | None = None) -> Status:
    """Return the status now, with the queues of one tenant, or of all. Raises `QueryTooSlow`."""
    with time_limit(READ_SECONDS):
        due = _rows(statements.DUE, releases=MOST_RELEASES, most=MOST_DUE)
        running = _rows(statements.PROCESSES)
        delay = message_path.outcome_delay()
    now = timezone.now()
    queues = [
        Queue(slug, pipeline_id, release_version, count, now - timedelta(seconds=seconds), hosted)
        for slug, pipeline_id, release_version, count, seconds, hosted in due
        if tenant in (None, slug)
    ]
    return Status(
        version(),
        database=Part(health.database.status()),
        broker=Part(health.broker.status()),
        store=Part(health.store.status()),
        processes=[Reported(Process.Kind(row[0]), *row[1:6], *row[7:]) for row in running],
        queues=sorted(queues, key=lambda queue: queue.oldest_due_at),
        migrations=pending_migrations.pending(connection),
        outcome_delay=delay,
    )


def _rows(statement: str, **parameters: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
