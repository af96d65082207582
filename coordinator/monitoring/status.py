"""The status of the installation: its processes, what it depends on, and what waits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, cast

from django.db import connection
from django.utils import timezone

from coordinator import boot_checks, health
from coordinator.jobs import periodic_jobs
from coordinator.models import Process
from coordinator.monitoring import statements
from coordinator.monitoring.gauges import MOST_DUE, MOST_RELEASES, rows
from coordinator.monitoring.process import version
from executions.workers import message_path
from foundation.database.bounded import time_limit

READ_SECONDS: Final = 3.0
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
    jobs: Mapping[str, str]

    @property
    def is_silent(self) -> bool:
        return self.silent_seconds > Process.SILENT_SECONDS

    @property
    def drifts(self) -> bool:
        return abs(self.drift_seconds) > LARGEST_DRIFT


@dataclass(frozen=True, slots=True)
class Job:
    """A periodic job: how often the clock starts it, and when it last did; None if no clock has reported a run."""

    name: str
    every_seconds: float
    last_run_at: datetime | None
    is_late: bool


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
    """`jobs` are in alphabetical order. `missing` are the kinds without a process that reports itself. `migrations` are
    those that were not applied. `outcome_delay` is by how many seconds outcomes are read late, 0 if they are in time.
    """

    version: str
    database: Part
    broker: Part
    store: Part
    processes: Sequence[Reported]
    jobs: Sequence[Job]
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
        due = rows(statements.DUE, releases=MOST_RELEASES, most=MOST_DUE)
        running = rows(statements.PROCESSES)
        delay = message_path.outcome_delay()
    now = timezone.now()
    processes = [
        Reported(Process.Kind(kind), host, pid, release, started, reported, silent, drift, json.loads(jobs or "{}"))
        for kind, host, pid, release, started, reported, _, silent, drift, jobs in running
    ]
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
        processes=processes,
        jobs=list(_jobs(processes)),
        queues=sorted(queues, key=lambda queue: queue.oldest_due_at),
        migrations=boot_checks.pending(connection),
        outcome_delay=delay,
    )


def _jobs(processes: Sequence[Reported]) -> Iterator[Job]:
    """Yield the jobs with their last runs. The times of reports are by the database's clock, and so is this."""
    reported = max((each.reported_at for each in processes), default=None)
    for name, job in sorted(periodic_jobs().items()):
        runs = [datetime.fromisoformat(each.jobs[name]) for each in processes if name in each.jobs]
        last, every = max(runs, default=None), cast("timedelta", job["schedule"])
        late = (
            last is None or reported is None or reported - last > 2 * every + timedelta(seconds=Process.SILENT_SECONDS)
        )
        yield Job(name, every.total_seconds(), last, late)
