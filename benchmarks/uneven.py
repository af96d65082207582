"""Inserts a month of executions of fifty uneven tenants, with all that they leave behind.

The first tenant has 86 % of the rows, and the others the rest in equal parts. Of a hundred executions five have failed,
one waits for an answer, one is due on a release without workers, and one was cancelled. Those of one pipeline can be
found by two values. Some of them have concurrency keys, of which a hundred wait for a place, and some have a parent.
Everything else is in proportion to the number of executions, so a statement whose buffers do not depend
on it reads as much with few as with many.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import psycopg

from executions import statistics
from executions.statistics import COUNTED_HOURS, OVERLAP_MINUTES

TENANTS: Final = 50
RELEASES: Final = 5
PERSON: Final = "ann"
"""A member of every tenant, who submitted some executions and has some questions."""
TABLES: Final = (
    "executions_execution",
    "executions_executionevent",
    "executions_smoketest",
    "executions_deadletter",
    "executions_failuregroup",
    "executions_awaitunit",
    "executions_interaction",
    "executions_worker",
    "tenancy_auditentry",
)
"""The tables that get rows in proportion to the number of executions."""
_SETTINGS: Final = "SET session_replication_role = replica; SET synchronous_commit = off"
# Copies of rows of the first tenant, which is `one`: the table, its other columns, and from what they are selected.
_COPIES: Final[tuple[tuple[str, Mapping[str, str], str], ...]] = (
    (
        "tenancy_tenant",
        {"slug": "'tenant-' || n", "name": "'Tenant ' || n"},
        "tenancy_tenant t, generate_series(2, {tenants}) n WHERE t.id = {one}",
    ),
    (
        "releases_pipeline",
        {"tenant_id": "o.id", "activation_id": "NULL"},
        "releases_pipeline t, tenancy_tenant o WHERE t.tenant_id = {one} AND o.id <> {one} ORDER BY o.id, t.id",
    ),
    (
        "releases_contract",
        {"pipeline_id": "o.id"},
        "releases_contract t JOIN releases_pipeline p ON p.id = t.pipeline_id AND p.tenant_id = {one}"
        " JOIN releases_pipeline o ON o.pipeline_id = p.pipeline_id AND o.id <> p.id",
    ),
    (
        "releases_release",
        {"pipeline_id": "o.id", "contract_id": "c.id"},
        "releases_release t JOIN releases_pipeline p ON p.id = t.pipeline_id AND p.tenant_id = {one}"
        " JOIN releases_pipeline o ON o.pipeline_id = p.pipeline_id AND o.id <> p.id"
        " JOIN releases_contract c ON c.pipeline_id = o.id AND c.contract_version = t.contract_version",
    ),
    (
        "releases_activation",
        {"pipeline_id": "o.id", "release_id": "r.id"},
        "releases_activation t JOIN releases_pipeline p ON p.id = t.pipeline_id AND p.tenant_id = {one}"
        " JOIN releases_release s ON s.id = t.release_id"
        " JOIN releases_pipeline o ON o.pipeline_id = p.pipeline_id AND o.id <> p.id"
        " JOIN releases_release r ON r.pipeline_id = o.id AND r.release_version = s.release_version",
    ),
)
# Which executions there are. `k` is the tenant's number, `v` the release's: the older an execution, the older.
_PLAN: Final = """
UPDATE releases_pipeline p SET activation_id = a.id FROM releases_activation a WHERE a.pipeline_id = p.id;
UPDATE releases_release SET created_at = now() - interval '31 days' + (release_version::int - 1) * interval '6 days';
UPDATE releases_release r SET declarations = declarations
    || '{{"concurrency": {{"key": "customer", "limit": 9, "rate": {{"limit": 9, "seconds": 60}}}}}}'
    FROM releases_pipeline p WHERE p.id = r.pipeline_id AND p.pipeline_id = 'benchmarks.three-steps'
    AND r.release_version <> '1';
INSERT INTO tenancy_membership (role, tenant_id, user_id)
    SELECT 'tenant-admin', t.id, u.id FROM tenancy_tenant t, auth_user u WHERE u.username = '{person}';
CREATE TEMP TABLE planned AS SELECT n, now() - interval '10 minutes' - n * interval '30 days' / {rows} AS at,
    CASE WHEN hashint4(n) & 1023 < 880 THEN 1 ELSE 2 + abs(hashint4(n * 7)) % ({tenants} - 1) END AS k,
    CASE WHEN n % 40 = 0 THEN 'DLQ' WHEN n % 40 = 20 THEN 'FAILED' WHEN n % 100 = 1 THEN 'CANCELLED'
        WHEN n % 200 = 3 THEN 'QUEUED' WHEN n % 200 = 5 THEN 'WAIT_RETRY' WHEN n % 100 = 7 THEN 'WAITING_EXTERNAL'
        ELSE 'SUCCEEDED' END AS status,
    ({releases} - n::bigint * {releases} / ({rows} + 1))::int AS v FROM generate_series(1, {rows}) n;
CREATE TEMP TABLE pin AS
    SELECT dense_rank() OVER (ORDER BY p.tenant_id) AS k, r.release_version::int AS v, p.tenant_id, p.pipeline_id,
        r.id, r.contract_version, r.release_version,
        row_number() OVER (PARTITION BY p.tenant_id, r.release_version ORDER BY p.id) AS nth
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE p.pipeline_id IN ('benchmarks.three-steps', 'benchmarks.asking');
ANALYZE planned, pin;
"""
_EXECUTION: Final = {
    "id": "uuidv7(at - now())",
    "tenant_id": "pin.tenant_id",
    "release_id": "pin.id",
    "pipeline_id": "pin.pipeline_id",
    "contract_version": "pin.contract_version",
    "release_version": "pin.release_version",
    "execution_key": "'order-' || n + 100",
    "status": "x.status",
    "await_unit_id": "CASE WHEN x.status = 'WAITING_EXTERNAL' THEN uuidv7(at - now()) END",
    "result": "CASE WHEN x.status = 'SUCCEEDED' THEN t.result END",
    "error_code": "CASE WHEN n % 20 = 0 THEN 'Error' || n / 20 % 2 * (n / 20 % 40) END",
    "error_message": "CASE WHEN n % 20 = 0 THEN 'the bank did not answer request ' || n END",
    # The first executions are the newest, and the person has submitted none of them.
    "submitted_by": "CASE WHEN n % ({rows} / 40) = 11 AND n > {rows} / 3 THEN 'user:{person}'"
    " ELSE 'token:shop-' || n % 5 END",
    "tags": "ARRAY['order-' || n, 'customer-' || n % 20]",
    "smoke": "n % ({rows} / 50) = 9",
    "created_at": "at",
    "updated_at": "at + interval '1 s'",
    "next_due_at": "CASE WHEN n % ({rows} / 100) = 3 THEN at + interval '7000 years' ELSE at END",
    "concurrency_key": "CASE WHEN n % 200 IN (5, 8) OR n % ({rows} / 100) = 3 THEN 'customer=' || n / 1000 END",
    "started_at": "CASE WHEN n % 200 IN (5, 8) THEN at END",
    "finished_at": "CASE WHEN x.status IN ('SUCCEEDED', 'DLQ', 'FAILED', 'CANCELLED') THEN at + interval '1 s' END",
}
_EXECUTIONS: Final = """executions_execution t,
    planned x JOIN pin ON pin.k = x.k AND pin.v = x.v AND pin.nth = 1 + n / 100 % 2
    WHERE t.id = '{template}' AND (x.v > 1 OR x.status NOT IN ('QUEUED', 'WAIT_RETRY')) ORDER BY n DESC
"""
_REST: Final = """
CREATE TEMP TABLE loaded AS SELECT id, tenant_id, release_id, version, status, execution_key, error_code, error_message,
    submitted_by, smoke, await_unit_id, created_at, finished_at FROM executions_execution WHERE id <> '{template}';
UPDATE executions_execution e SET parent_id = p.id
    FROM loaded c, loaded p, LATERAL (SELECT split_part(c.execution_key, '-', 2)::int AS n) k
    WHERE e.id = c.id AND p.tenant_id = c.tenant_id AND n % 100 = 8 AND p.execution_key = 'order-' || n - 1;
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT l.id, t.sequence, t.kind, t.status, t.actor, t.data, l.created_at
    FROM loaded l, executions_executionevent t WHERE t.execution_id = '{template}' ORDER BY l.created_at;
INSERT INTO executions_smoketest (execution_id, actor, release_id, created_at)
    SELECT id, submitted_by, release_id, created_at FROM loaded WHERE smoke;
INSERT INTO executions_deadletter (tenant_id, execution_id, execution_version, transition_key, terminal_status, reason,
        error_code, error_message, retryable, retries_observed, step_index, failed_step_index, group_id, created_at)
    SELECT tenant_id, id, version, id::text, status,
        CASE WHEN status = 'DLQ' THEN 'retry_exhausted' ELSE 'non_retryable' END, error_code, error_message, true, 3, 0,
        1, CASE WHEN NOT smoke THEN failure_group_id(release_id, 1, failure_fingerprint(error_code, error_message)) END,
        finished_at
    FROM loaded WHERE status IN ('DLQ', 'FAILED') ORDER BY created_at;
INSERT INTO executions_failuregroup (id, tenant_id, release_id, step_index, fingerprint, error_code, sample_message,
        first_seen_at, last_seen_at, acknowledged_by, assignee, note)
    SELECT d.group_id, min(d.tenant_id), min(e.release_id), 1, min(d.fingerprint), min(d.error_code),
        min(d.error_message), min(d.created_at), max(d.created_at), '', '', ''
    FROM executions_deadletter d JOIN loaded e ON e.id = d.execution_id
    WHERE d.group_id IS NOT NULL GROUP BY d.group_id;
INSERT INTO executions_awaitunit (id, step_id, step_index, itemized, gives_many, expected_items, tenant_id,
        execution_id)
    SELECT coalesce(await_unit_id, uuidv7(created_at - now())), 'ask', 0, false, false, 1, tenant_id, id
    FROM loaded WHERE await_unit_id IS NOT NULL OR status = 'SUCCEEDED' AND execution_key LIKE '%8' ORDER BY created_at;
INSERT INTO executions_interaction (id, step_id, step_index, correlation_id, transport, transport_metadata, request,
        output_type, status, version, deadline, dispatch_attempts, last_dispatch_error, execution_id, tenant_id,
        unit_id, assignee, actor, completed_at, response, created_at)
    SELECT uuidv7(e.created_at - now()), 'ask', 0, u.id::text,
        CASE WHEN open AND n % 1000 = 7 THEN 'timer' ELSE 'manual' END,
        '{{}}', '{{"amount": 1}}', 'x', CASE WHEN open THEN 'WAITING' ELSE 'COMPLETED' END, 0,
        e.created_at + interval '40 days', 0, '', e.id, e.tenant_id, u.id, CASE WHEN n % 10000 = 7 THEN '{person}' END,
        CASE WHEN NOT open THEN 'user:{person}' END, CASE WHEN NOT open THEN e.created_at END,
        CASE WHEN NOT open THEN '1'::jsonb END, e.created_at
    FROM executions_awaitunit u JOIN loaded e ON e.id = u.execution_id,
        LATERAL (SELECT e.status = 'WAITING_EXTERNAL' AS open, split_part(execution_key, '-', 2)::int - 100 AS n) a
    ORDER BY e.created_at;
INSERT INTO executions_searchvalue (execution_id, pipeline_id, name, text, number)
    SELECT l.id, r.pipeline_id, f.name, CASE f.name WHEN 'customer' THEN 'c-' || n % 5000 END,
        CASE f.name WHEN 'total' THEN n % 1000 END
    FROM loaded l JOIN releases_release r ON r.id = l.release_id
        JOIN releases_pipeline p ON p.id = r.pipeline_id AND p.pipeline_id = 'benchmarks.three-steps',
        LATERAL (SELECT split_part(l.execution_key, '-', 2)::int AS n) k, (VALUES ('customer'), ('total')) f (name);
INSERT INTO tenancy_auditentry (sequence, at, actor, act, object_type, object, outcome, reason, request_id, address,
        details, previous_hash, hash, tenant_id)
    SELECT 1000 + row_number() OVER (PARTITION BY tenant_id ORDER BY n DESC), at, 'token:shop-' || n % 5,
        CASE WHEN n % 50 = 0 THEN 'release.activate' ELSE 'execution.redrive' END, 'execution',
        CASE WHEN n % ({rows} / 40) = 7 AND n > {rows} / 2 THEN 'benchmarks.one-step/1'
            ELSE uuidv7(at - now())::text END,
        CASE WHEN n % ({rows} / 30) = 3 AND n > {rows} / 2 THEN 'failed' WHEN n % ({rows} / 30) = 4 THEN 'denied'
            ELSE 'granted' END, '', 'request-' || n, '', '{{}}', repeat('0', 64), repeat('0', 64), tenant_id
    FROM planned JOIN (SELECT DISTINCT k, tenant_id FROM pin) o USING (k) ORDER BY n DESC;
"""
_WORKER: Final = {
    "tenant_id": "pin.tenant_id",
    "pipeline_id": "pin.pipeline_id",
    "contract_version": "pin.contract_version",
    "release_version": "pin.release_version",
    "worker_id": "'former-' || n",
    "holding": "0",
    "running": "0",
    **dict.fromkeys(("registered_at", "last_heartbeat_at", "last_sent_at", "stopped_at"), "at"),
    "alive_until": "NULL",
    "noted_state": "'STOPPED'",
}
_WORKERS: Final = """executions_worker t,
    planned x JOIN pin ON pin.k = x.k AND pin.v = x.v AND pin.nth = 1 + n / 100 % 2
    WHERE t.id = (SELECT min(id) FROM executions_worker) AND n % 100 = 0 ORDER BY n DESC
"""


def load(connection: psycopg.Connection, rows: int) -> None:
    """Insert `rows` executions. The only tenant becomes the first one; it needs RELEASES releases of both pipelines.

    `connection` is a superuser's, because the triggers would reject these rows.
    """
    row = connection.execute("SELECT tenant_id, id FROM executions_execution WHERE status = 'SUCCEEDED'").fetchone()
    if row is None:
        raise RuntimeError("No execution has succeeded that can be copied.")
    values = {"one": row[0], "template": row[1], "rows": rows, "tenants": TENANTS, "releases": RELEASES}
    values["person"] = PERSON
    connection.execute(_SETTINGS)
    for table, changed, source in _COPIES:
        connection.execute(_copy(connection, table, changed, source, values))
    connection.execute(_PLAN.format(**values).encode())
    connection.execute(_copy(connection, "executions_execution", _EXECUTION, _EXECUTIONS, values, leave_out=()))
    connection.execute(_REST.format(**values).encode())
    connection.execute(_copy(connection, "executions_worker", _WORKER, _WORKERS, values))
    connection.execute("DROP TABLE planned, pin, loaded")
    connection.execute(statistics.COUNT.encode(), {"overlap": OVERLAP_MINUTES, "hours": COUNTED_HOURS})
    connection.execute("VACUUM (ANALYZE)")


def _copy(
    connection: psycopg.Connection,
    table: str,
    changed: Mapping[str, str],
    source: str,
    values: Mapping[str, Any],
    leave_out: tuple[str, ...] = ("id",),
) -> bytes:
    """Return the statement that inserts copies of rows `t` of the table, with some columns changed."""
    columns = _columns_of(connection, table, leave_out)
    copied = ", ".join(changed.get(name, f"t.{name}") for name in columns)
    statement = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM {source}"  # noqa: S608 - constants
    return statement.format(**values).encode()


def _columns_of(connection: psycopg.Connection, table: str, leave_out: Collection[str]) -> list[str]:
    """Return the columns of a table that an INSERT may name, in their order."""
    row = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'NEVER'"
        " ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in row if name not in leave_out]
