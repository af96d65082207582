"""The spans of a process, its port for metrics and probes, its reports, and the guard of its connections.

The guard is against a silent database host and against a former primary (ADR 75). The processes remember the newest
timeline of each cluster in the broker, because a former primary does not know it.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from multiprocessing.util import Finalize
from typing import Any, Final

import psycopg
from celery import current_app
from django.conf import settings

from coordinator.processes import REPORT_SECONDS, Kind
from foundation.broker_gate import REFUSALS
from foundation.database.postgresql import servers
from foundation.database.postgresql.servers import Chooser, Server, Timelines
from foundation.telemetry import traces
from foundation.telemetry.metrics import Exposition
from wire import garbage
from wire.probes import Endpoint, Liveness

log = logging.getLogger(__name__)
STEP_SECONDS: Final = 2.0
"""A change of the host's time by more than this between two reports is logged."""
KEPT_SECONDS: Final = 600.0
"""After this time without a report, the row of a process is removed."""
liveness: Final = Liveness(longest_silence=settings.LIVENESS_SECONDS)
"""The main loop of a control worker or a clock. A web process has slots instead."""
Jobs = Callable[[], Mapping[str, float]]

# Records that a process runs, and removes the rows of processes that have not reported themselves for `kept` seconds.
# Always writes one row.
REPORT = """
WITH old AS (
    SELECT id FROM coordinator_process
    WHERE reported_at < now() - make_interval(secs => %(kept)s) AND NOT (host = %(host)s AND pid = %(pid)s)
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM coordinator_process p USING old WHERE p.id = old.id
)
INSERT INTO coordinator_process (kind, host, pid, version, started_at, reported_at, drift_seconds, jobs)
VALUES (%(kind)s, %(host)s, %(pid)s, %(version)s, now() - make_interval(secs => %(age)s), now(),
    %(clock)s - extract(epoch FROM clock_timestamp())::float8,
    (SELECT jsonb_object_agg(name, now() - make_interval(secs => age::float))
        FROM jsonb_each_text(%(jobs)s) j (name, age)))
ON CONFLICT (kind, host, pid) DO UPDATE SET version = excluded.version, started_at = excluded.started_at,
    reported_at = excluded.reported_at, drift_seconds = excluded.drift_seconds, jobs = excluded.jobs
"""

# Removes the row of a process that ends. No row: it had not reported itself.
LEAVE = "DELETE FROM coordinator_process WHERE kind = %(kind)s AND host = %(host)s AND pid = %(pid)s"


def start(kind: Kind, exposition: Exposition | None = None, *, jobs: Jobs = dict, alive: Liveness = liveness) -> None:
    """Start the threads of this process. Call this after the last fork. Ends the process if METRICS_PORT is in use.

    METRICS_PORT has the `exposition`; without one, the counts of this process alone. `jobs` returns how many seconds
    ago the process last started each of its periodic jobs. `/live` tells `alive`.
    """
    if settings.TRACES_ENDPOINT:
        traces.start(settings.TRACES_ENDPOINT, sample=settings.TRACES_SAMPLE, service=f"coordinator-{kind.value}")
    if settings.METRICS_PORT:
        try:
            Endpoint(
                settings.METRICS_HOST,
                settings.METRICS_PORT,
                (exposition or Exposition(dict)).text,
                alive,
                token=settings.METRICS_TOKEN,
                shared=kind is Kind.WEB,
                log=log,
            ).start()
        except OSError as error:
            sys.exit(
                f"METRICS_PORT: cannot listen at {settings.METRICS_HOST}:{settings.METRICS_PORT}: {error.strerror}"
            )
    Reporter(kind, jobs=jobs).start()
    garbage.settle()


@cache
def version() -> str:
    """Return the version of the coordinator."""
    # `importlib.metadata` parses the whole file, with the README in it.
    return metadata.version("durable-coordinator")


class Reporter(threading.Thread):
    """Reports this process until it ends. A process that ends in order removes its row.

    An unreachable database costs a log line, when it begins, and so does a change of the host's time. `clock` returns
    the seconds since 1970, and `jobs` how many seconds ago each periodic job was last started.
    """

    def __init__(self, kind: Kind, *, clock: Callable[[], float] = time.time, jobs: Jobs = dict) -> None:
        super().__init__(name="reports", daemon=True)
        self._kind = kind
        self._clock = clock
        self._jobs = jobs
        self._offset = clock() - time.monotonic()
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._unreported = False

    def run(self) -> None:
        Finalize(None, self.leave, exitpriority=0)  # multiprocessing's children do not run what `atexit` has
        while not self._ended.is_set():
            self.report()
            exchange()
            self._ended.wait(REPORT_SECONDS)

    def report(self) -> None:
        """Write the row of this process."""
        self._note_step()
        members = {"version": version(), "age": time.monotonic() - self._began, "kept": KEPT_SECONDS}
        members["jobs"] = json.dumps(self._jobs())
        reported = self._execute(REPORT, {**members, "clock": self._clock()})
        if not reported and not self._unreported:
            log.warning("This process cannot report itself to the database")
        self._unreported = not reported

    def _note_step(self) -> None:
        offset = self._clock() - time.monotonic()
        if abs(offset - self._offset) > STEP_SECONDS:
            log.warning("The time of this host has changed by %+.1f s", offset - self._offset)
        self._offset = offset

    def leave(self) -> None:
        """Remove the row of this process, and report no more."""
        self._ended.set()
        if not self._unreported:
            self._execute(LEAVE, {})

    def _execute(self, statement: str, members: dict[str, Any]) -> bool:
        """Use a short connection, so that an idle thread keeps none. The clock does not load those of Django."""
        parameters: dict[str, Any] = {"kind": self._kind.value, "host": socket.gethostname(), "pid": os.getpid()}
        try:
            with servers.short_connection(settings.DATABASES["default"]) as connection:
                connection.execute(statement, parameters | members)
        except psycopg.Error:
            return False
        return True


TIMELINES_KEY: Final = "coordinator:timelines"
"""A sorted set in the broker: system identifiers, with their newest timelines."""


def guard_database() -> None:
    """Guard all connections that this process opens from now on."""
    servers.guard(Chooser(Timelines(_exchange), answer_seconds=settings.DATABASE_ANSWER_SECONDS))


@contextmanager
def during_command() -> Iterator[None]:
    """Refuse a former primary in the block. Commands may take hours, so they wait for answers without a limit."""
    servers.guard(Chooser(Timelines(_exchange), answer_seconds=None))
    try:
        yield
    finally:
        servers.guard(None)


def exchange() -> None:
    """Tell other processes the newest timeline that this one has seen, and learn theirs."""
    chooser = servers.chooser
    if chooser is not None and (newest := chooser.timelines.newest) is not None:
        chooser.timelines.admit(Server(newest.system, _exchange(newest.system, newest.timeline)))


def _exchange(system: int, timeline: int = 0) -> int:
    """Raise the shared timeline of a system to `timeline`. Return it; `timeline` if the broker does not answer."""
    connection: Any
    try:
        with current_app.pool.acquire(block=True) as connection:
            client = connection.default_channel.client
            client.zadd(TIMELINES_KEY, {str(system): timeline}, gt=True)
            return int(client.zscore(TIMELINES_KEY, str(system)))
    except REFUSALS:
        return timeline
