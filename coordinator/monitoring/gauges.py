"""The gauges: what is due, stranded, open, damaged or silent now. Each reading is bounded in rows and time."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import current_app
from django.conf import settings
from django.db import connection

from coordinator.processes import SILENT_SECONDS
from executions.workers import message_path
from foundation.broker_gate import REFUSALS
from foundation.database.bounded import time_limit
from foundation.telemetry.metrics import OTHER, Exposition, Gauge, Readings

RELEASE: Final = ("tenant", "pipeline", "release")
READ_SECONDS: Final = 2.0
"""A query that takes longer is cancelled. The gauges are then missing."""
MOST_DUE: Final = 5_000
"""How many due executions of each release are counted."""
MOST_RELEASES: Final = 500
MOST_ROWS: Final = 20_000
"""How many open questions, workers and blobs are counted."""

depth = Gauge("coordinator_queue_depth", f"Due executions, at most {MOST_DUE:,} of each release.", RELEASE)
oldest = Gauge("coordinator_queue_oldest_seconds", "How long the oldest due execution has been due.", RELEASE)
stranded = Gauge("coordinator_stranded_executions", "Due executions whose release has no eligible worker.", RELEASE)
awaits_open = Gauge("coordinator_awaits_open", "Questions that wait for an answer.", ("tenant",))
awaits_overdue = Gauge(
    "coordinator_awaits_overdue",
    "Open questions past their deadline, without those of paused executions. The sweep ends them.",
    ("tenant",),
)
workers = Gauge("coordinator_workers", "Workers that have not stopped.", (*RELEASE, "state"))
heartbeat_age = Gauge(
    "coordinator_worker_heartbeat_age_seconds", "The age of the oldest heartbeat of such workers.", (*RELEASE, "state")
)
blobs = Gauge("coordinator_blobs", "Stored blobs by the state of their last check.", ("state",))
blob_check_age = Gauge("coordinator_blob_check_age_seconds", "The age of the oldest check of a stored blob.")
processes = Gauge(
    "coordinator_processes",
    f"Processes that reported themselves within {SILENT_SECONDS:g} seconds.",
    ("kind", "version"),
)
report_age = Gauge(
    "coordinator_process_report_age_seconds", "The age of the last report of a process.", ("kind", "host", "pid")
)
drift = Gauge(
    "coordinator_clock_drift_seconds", "How far a process's clock is ahead of the database's.", ("kind", "host", "pid")
)
database_time = Gauge("coordinator_database_round_trip_seconds", "The time of the smallest query.")
broker_time = Gauge("coordinator_broker_round_trip_seconds", "The time of a ping of the broker.")
broker_up = Gauge("coordinator_broker_up", "1 if the broker answers, else 0.")
outcome_delay = Gauge(
    "coordinator_outcome_delay_seconds", "How late outcomes of workers are read; 0 if they are read in time."
)
messages = Gauge("coordinator_broker_queue_messages", "Messages that wait for control workers.", ("queue",))

Values = dict[tuple[str, ...], float]
NO_BLOBS: Final[Values] = {("SOUND",): 0.0, ("DAMAGED",): 0.0, ("MISSING",): 0.0}

# Returns the due executions of each release that has any: their number, the seconds since the oldest was due, and
# whether an eligible worker hosts the release. Paused work does not count. Counts at most `most` executions of each of
# `releases` releases, which it finds one by one in the index of due executions.
DUE = """
WITH RECURSIVE found (id) AS (
    (SELECT e.release_id FROM executions_execution e
        WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held ORDER BY e.release_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.release_id FROM executions_execution e
        WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.release_id > f.id
        ORDER BY e.release_id LIMIT 1)
    FROM found f WHERE f.id IS NOT NULL
), few AS (
    SELECT id FROM found WHERE id IS NOT NULL LIMIT %(releases)s
)
SELECT t.slug, p.pipeline_id, r.release_version, due.count, extract(epoch FROM now() - due.oldest)::float8,
    EXISTS (SELECT FROM executions_workereligibility v WHERE v.release_id = r.id AND v.present AND v.reason IS NULL)
FROM few
CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(d.next_due_at) AS oldest FROM (
        SELECT e.next_due_at FROM executions_execution e
        WHERE e.release_id = few.id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.next_due_at <= now()
        ORDER BY e.next_due_at LIMIT %(most)s) d
) due
JOIN releases_release r ON r.id = few.id
JOIN releases_pipeline p ON p.id = r.pipeline_id
JOIN tenancy_tenant t ON t.id = p.tenant_id
WHERE due.count > 0 AND NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = r.id)
"""

# Returns the open questions by tenant, and how many of them are past their deadline, without those of paused
# executions, whose deadlines move. Timers and calls of pipelines need no answer. Counts at most `most`, those with the
# earliest deadlines, from the index of open ones.
AWAITS = """
SELECT t.slug, count(*), count(*) FILTER (WHERE i.deadline <= now() AND NOT EXISTS (
    SELECT FROM executions_execution e WHERE e.id = i.execution_id
        AND (e.held OR e.release_id IN (SELECT release_id FROM executions_heldrelease))))
FROM (
    SELECT tenant_id, execution_id, deadline FROM executions_interaction
    WHERE status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND transport NOT IN ('timer', 'pipeline')
    ORDER BY deadline LIMIT %(most)s
) i
JOIN tenancy_tenant t ON t.id = i.tenant_id
GROUP BY t.slug
"""

# Returns the workers that have not stopped by release and state, and the age of their oldest heartbeat. The limit on
# the workers of each tenant bounds it, and `most`.
WORKERS = """
SELECT t.slug, w.pipeline_id, w.release_version, v.state, count(*),
    max(extract(epoch FROM now() - w.last_heartbeat_at))::float8
FROM (SELECT * FROM executions_worker WHERE stopped_at IS NULL ORDER BY id DESC LIMIT %(most)s) w
JOIN executions_workereligibility v ON v.worker_id = w.id
JOIN tenancy_tenant t ON t.id = w.tenant_id
GROUP BY t.slug, w.pipeline_id, w.release_version, v.state
"""

# Returns the stored blobs by state, of the `most` whose last check is longest ago, and the age of the oldest check.
BLOBS = """
SELECT b.state, count(*), max(extract(epoch FROM now() - b.checked_at))::float8
FROM (SELECT state, checked_at FROM releases_blob WHERE state <> 'REMOVED' ORDER BY checked_at LIMIT %(most)s) b
GROUP BY b.state
"""

# Returns the processes that have reported themselves. Rows without reports are removed, which bounds it.
PROCESSES = """
SELECT kind, host, pid, version, started_at, reported_at, extract(epoch FROM now() - reported_at)::float8,
    drift_seconds, jobs
FROM coordinator_process ORDER BY kind, host, pid LIMIT 1000
"""


def read() -> Readings:
    """Read all gauges. Closes the connection of this thread, because each scrape may open another one.

    Raises the errors of the database, and `QueryTooSlow`.
    """
    try:
        return {**_of_database(), **_of_broker()}
    finally:
        if not connection.in_atomic_block:
            connection.close()


exposition: Final = Exposition(read)


def _of_database() -> Readings:
    begun = time.perf_counter()
    with time_limit(READ_SECONDS):
        rows("SELECT 1")
        seconds = time.perf_counter() - begun
        due = rows(DUE, releases=MOST_RELEASES, most=MOST_DUE)
        waiting = rows(AWAITS, most=MOST_ROWS)
        hosts = rows(WORKERS, most=MOST_ROWS)
        stored = rows(BLOBS, most=MOST_ROWS)
        running = [
            ((kind, host, str(pid)), version, silent, drifted)
            for kind, host, pid, version, _, _, silent, drifted, _ in rows(PROCESSES)
        ]
        delay = message_path.outcome_delay()
    return {
        database_time: {(): seconds},
        depth: _bounded([(pin, count) for *pin, count, _, _ in due], sum, 3),
        oldest: _bounded([(pin, age) for *pin, _, age, _ in due], max, 3),
        stranded: _bounded([(pin, count) for *pin, count, _, is_hosted in due if not is_hosted], sum, 3),
        awaits_open: _bounded([((tenant,), count) for tenant, count, _ in waiting], sum, 1),
        awaits_overdue: _bounded([((tenant,), overdue) for tenant, _, overdue in waiting], sum, 1),
        workers: _bounded([(labels, count) for *labels, count, _ in hosts], sum, 3),
        heartbeat_age: _bounded([(labels, age) for *labels, _, age in hosts], max, 3),
        blobs: NO_BLOBS | {(state,): count for state, count, _ in stored},
        blob_check_age: {(): max((age for _, _, age in stored), default=0.0)},
        outcome_delay: {(): delay},
        processes: Counter((kind, version) for (kind, *_), version, silent, _ in running if silent <= SILENT_SECONDS),
        report_age: {process: silent for process, _, silent, _ in running},
        drift: {process: drifted for process, _, _, drifted in running},
    }


def _of_broker() -> Readings:
    begun = time.perf_counter()
    pool: Any = current_app.pool
    try:
        with pool.acquire(block=True, timeout=READ_SECONDS) as connected:
            client = connected.default_channel.client
            client.ping()
            seconds = time.perf_counter() - begun
            lengths: Values = {(queue.name,): float(client.llen(queue.name)) for queue in current_app.conf.task_queues}
    except REFUSALS:
        return {broker_up: {(): 0.0}}
    return {broker_up: {(): 1.0}, broker_time: {(): seconds}, messages: lengths}


def rows(statement: str, **parameters: int) -> list[tuple[Any, ...]]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def _bounded(
    rows: Sequence[tuple[Sequence[str], float]], combined: Callable[[list[float]], float], names: int
) -> Values:
    """Return the METRICS_MAX_SERIES largest values. The first `names` labels of all others become OTHER."""
    ordered = sorted(rows, key=lambda row: -row[1])
    kept, others = ordered[: settings.METRICS_MAX_SERIES], ordered[settings.METRICS_MAX_SERIES :]
    rest: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for labels, value in others:
        rest[(*[OTHER] * names, *labels[names:])].append(value)
    largest = {tuple(labels): value for labels, value in kept}
    return {**largest, **{labels: combined(values) for labels, values in rest.items()}}
