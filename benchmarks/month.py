"""Inserts a month of finished executions of several releases, with failures, their groups, tags and some histories."""

import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from benchmarks.past import columns_of
from benchmarks.product_under_test import ProductUnderTest
from executions import statistics
from executions.statistics import COUNTED_HOURS, OVERLAP_MINUTES

CHUNK: Final = 250_000
RELEASES: Final = 5
ERRORS: Final = 40
FAILED: Final = "n % 20 = 0"
"""Which executions failed: 5 %, half of them with the same error. Each of them has events, and as many others have."""
TABLES: Final = """
executions_execution, executions_executionevent, executions_deadletter, executions_failuregroup,
executions_finishedcount, releases_release
"""
_TEMPLATE = """
SELECT e.id, e.release_id, r.pipeline_id FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
WHERE e.status = 'SUCCEEDED'
"""
_RELEASES = """
INSERT INTO releases_release ({columns}) SELECT {values}
FROM releases_release t, generate_series(2, {count}) n WHERE t.id = {template}
"""
# The columns that differ between rows. All others are copied from a real execution. `at` is the creation time.
_CHANGED = {
    "id": "{new_id}",
    "release_id": "r.id",
    "release_version": "r.release_version",
    "execution_key": "'order-' || n",
    "status": f"CASE WHEN {FAILED} THEN 'DLQ' ELSE 'SUCCEEDED' END",
    "result": f"CASE WHEN {FAILED} THEN NULL ELSE t.result END",
    "error_code": f"CASE WHEN {FAILED} THEN 'Error' || n / 20 % 2 * (n / 20 % {ERRORS}) END",
    "error_message": f"CASE WHEN {FAILED} THEN 'the bank did not answer request ' || n END",
    "submitted_by": "'token:shop-' || n % 5",
    "tags": "ARRAY['order-' || n, 'customer-' || n % 20, 'region-' || n % 3]",
    "created_at": "at",
    "updated_at": "at + interval '1 s'",
    "next_due_at": "at",
    "finished_at": "at + interval '1 s'",
}
_EXECUTIONS = """
WITH loaded AS (
    INSERT INTO executions_execution ({columns})
    SELECT {values} FROM executions_execution t, LATERAL (
        SELECT n, now() - interval '10 minutes' - n * interval '30 days' / {rows} AS at
        FROM generate_series({first}, {last}) n
    ) past, LATERAL (
        SELECT id, release_version FROM releases_release
        WHERE pipeline_id = {pipeline} AND release_version = ({releases} - n::bigint * {releases} / ({rows} + 1))::text
    ) r WHERE t.id = '{template}' ORDER BY n DESC
    RETURNING id, execution_key, tenant_id, release_id, version, status, error_code, error_message, created_at,
        finished_at
), noted AS (
    INSERT INTO executions_executionevent (execution_id, {event_columns}, at)
    SELECT l.id, {event_values}, l.created_at FROM loaded l, executions_executionevent v
    WHERE v.execution_id = '{template}' AND l.execution_key LIKE '%0'
)
INSERT INTO executions_deadletter (tenant_id, execution_id, execution_version, transition_key, terminal_status, reason,
    error_code, error_message, retryable, retries_observed, step_index, failed_step_index, group_id, created_at)
SELECT tenant_id, id, version, id::text, status, 'retry_exhausted', error_code, error_message, true, 3, 0, 1,
    failure_group_id(release_id, 1, failure_fingerprint(error_code, error_message)), finished_at
FROM loaded WHERE status = 'DLQ'
"""
_GROUPS = """
INSERT INTO executions_failuregroup (id, tenant_id, release_id, step_index, fingerprint, error_code, sample_message,
    first_seen_at, last_seen_at, acknowledged_by, assignee, note)
SELECT d.group_id, min(d.tenant_id), min(e.release_id), 1, min(d.fingerprint), min(d.error_code), min(d.error_message),
    min(d.created_at), max(d.created_at), '', '', ''
FROM executions_deadletter d JOIN executions_execution e ON e.id = d.execution_id GROUP BY d.group_id
"""


def load(product: ProductUnderTest, rows: int, say: Callable[[str], None]) -> None:
    """Insert RELEASES - 1 more releases, and `rows` executions that were created at even intervals over 30 days.

    The older an execution is, the older is its release. Uses a superuser connection, because the triggers would reject
    these rows.
    """
    if product.backing.postgres is None:
        raise RuntimeError("Executions can only be inserted into a server of this run.")
    with psycopg.connect(product.backing.postgres.superuser_url(), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        template = _one(connection, _TEMPLATE)
        connection.execute(_releases(connection, template[1]).encode())
        began = time.monotonic()
        for last in range(rows, 0, -CHUNK):
            first = max(last - CHUNK + 1, 1)
            connection.execute(_executions(connection, template, rows, first, last).encode())
            say(f"{rows - first + 1:,} of {rows:,} loaded in {time.monotonic() - began:.0f} s")
        connection.execute(_GROUPS)
        # The clock counts only what finishes after its newest count.
        connection.execute("DELETE FROM executions_finishedcount")
        connection.execute(statistics.COUNT.encode(), {"overlap": OVERLAP_MINUTES, "hours": COUNTED_HOURS})
        connection.execute(f"VACUUM (ANALYZE) {TABLES}".encode())
        connection.execute("CHECKPOINT")


def _releases(connection: psycopg.Connection, template: int) -> str:
    columns = columns_of(connection, "releases_release", leave_out={"id"})
    values = ("n::text" if name == "release_version" else f"t.{name}" for name in columns)
    return _RELEASES.format(columns=", ".join(columns), values=", ".join(values), count=RELEASES, template=template)


def _executions(connection: psycopg.Connection, template: tuple[Any, ...], rows: int, first: int, last: int) -> str:
    execution, _, pipeline = template
    # Ids of version 7 contain the time of their creation.
    new_id = "uuidv7(at - now())" if execution.version == 7 else "gen_random_uuid()"
    columns = columns_of(connection, "executions_execution")
    events = columns_of(connection, "executions_executionevent", leave_out={"id", "execution_id", "at"})
    return _EXECUTIONS.format(
        columns=", ".join(columns),
        values=", ".join(_CHANGED.get(name, f"t.{name}").format(new_id=new_id) for name in columns),
        event_columns=", ".join(events),
        event_values=", ".join(f"v.{name}" for name in events),
        template=execution,
        pipeline=pipeline,
        releases=RELEASES,
        rows=rows,
        first=first,
        last=last,
    )


def _one(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise RuntimeError(f"No row found by {query}")
    return row
