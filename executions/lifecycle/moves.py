"""Every move of executions, as one guarded UPDATE with its events in the same statement.

All functions take groups. A row whose guard fails is simply not among those returned: somebody else moved it first.
Rows are locked in the order of their ids, so that two groups can never wait for each other in a circle. They are found
by their ids alone: a condition that another index could serve is put so that none can, since a plan that was made for
an empty table would go through all that a tenant or a pipeline ever ran.
"""

import json
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from executions.lifecycle.states import MOVES, TERMINAL, State
from foundation.database import prepared
from wire.documents.cardinality import ResultShape
from wire.messages.celery_messages import Shape


@cache
def owner() -> str:
    """Return the name under which this process acts and holds leases."""
    return f"coordinator@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class Move:
    """One execution's way from `source` to `target`, with its event. What is None stays as it is, but for the error.

    The guard is `source` and whichever of `version`, `lease_token` and `await_unit` are given. `progress` is what the
    next transition starts from, where its shape is given. `delay` says when it is due.
    """

    execution_id: uuid.UUID
    target: State
    kind: str
    actor: str
    data: dict[str, Any]
    source: State = State.RUNNING
    version: int | None = None
    lease_token: uuid.UUID | None = None
    await_unit: uuid.UUID | None = None
    step_index: int | None = None
    attempt: int | None = None
    budget_start: int | None = None
    transition_key: str | None = None
    delay: timedelta = timedelta()
    progress: Any = None
    progress_shape: Shape | None = None
    new_await_unit: uuid.UUID | None = None
    result: list[Any] | None = None
    error_code: str | None = None
    error_message: str | None = None


# The moves come as one JSON document: the quickest way to hand the database many rows of many columns. What may be
# JSON's null itself comes in an array of one. A move from RUNNING to QUEUED gives back a claim that no worker has
# begun. That is no progress, so the count of lost leases stays.
_APPLY = """
WITH asked AS (
    SELECT * FROM ROWS FROM (json_to_recordset(%(moves)s::json) AS (
        id uuid, source text, version bigint, token uuid, unit uuid, target text, kind text, actor text, data jsonb,
        step int, attempt int, budget int, key text, delay float, progress jsonb, shape text, new_unit uuid,
        result jsonb, code text, message text)) WITH ORDINALITY
        AS a(id, source, version, token, unit, target, kind, actor, data, step, attempt, budget, key, delay, progress,
             shape, new_unit, result, code, message, place)
), locked AS (
    SELECT e.id, a.place FROM executions_execution e JOIN asked a ON a.id = e.id
    WHERE e.status = a.source AND (a.version IS NULL OR e.version = a.version)
        AND (a.token IS NULL OR e.lease_token = a.token) AND (a.unit IS NULL OR e.await_unit_id = a.unit)
    ORDER BY e.id FOR UPDATE OF e
), moved AS (
    UPDATE executions_execution e SET
        status = a.target, version = e.version + 1, event_count = e.event_count + 1,
        takeovers = CASE WHEN a.source = 'RUNNING' AND a.target = 'QUEUED' THEN e.takeovers ELSE 0 END,
        current_step_index = coalesce(a.step, e.current_step_index), attempt = coalesce(a.attempt, e.attempt),
        budget_start = coalesce(a.budget, e.budget_start), next_due_at = now() + make_interval(secs => a.delay),
        lease_owner = NULL, lease_protocol = NULL, lease_worker = NULL, lease_token = NULL, lease_expires_at = NULL,
        running_since = NULL, last_transition_key = coalesce(a.key, e.last_transition_key),
        progress = CASE WHEN a.shape IS NULL THEN e.progress ELSE a.progress -> 0 END,
        progress_shape = coalesce(a.shape, e.progress_shape), await_unit_id = a.new_unit, result = a.result,
        error_code = a.code, error_message = a.message, updated_at = now(),
        finished_at = CASE WHEN a.target = ANY(%(terminal)s) THEN now() END
    FROM locked l JOIN asked a ON a.place = l.place WHERE e.id = l.id
    RETURNING e.id, a.place, e.event_count, e.status, a.kind, a.actor, a.data
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, kind, status, actor, data FROM moved
)
SELECT place FROM moved
"""


def apply(moves: Sequence[Move]) -> list[Move]:
    """Apply `moves` and return those that took place, in their order. Of several for one execution at most one does.

    Raises ValueError for a move that the table does not have, which is a mistake of the program.
    """
    if not moves:
        return []
    for move in moves:
        if move.target not in MOVES[move.source]:
            raise ValueError(f"There is no move from {move.source} to {move.target}.")
    asked = json.dumps([_as_row(move) for move in moves], ensure_ascii=False, default=str)
    with prepared.cursor() as cursor:
        cursor.execute(_APPLY, {"moves": asked, "terminal": [state.value for state in TERMINAL]})
        return [moves[place - 1] for (place,) in sorted(cursor.fetchall())]


def _as_row(move: Move) -> dict[str, Any]:
    return {
        "id": move.execution_id,
        "source": move.source,
        "version": move.version,
        "token": move.lease_token,
        "unit": move.await_unit,
        "target": move.target,
        "kind": move.kind,
        "actor": move.actor,
        "data": move.data,
        "step": move.step_index,
        "attempt": move.attempt,
        "budget": move.budget_start,
        "key": move.transition_key,
        "delay": move.delay.total_seconds(),
        "progress": None if move.progress_shape is None else [move.progress],
        "shape": move.progress_shape,
        "new_unit": move.new_await_unit,
        "result": move.result,
        "code": move.error_code,
        "message": move.error_message,
    }


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that was just claimed, with what its command needs.

    If `checkpoints` is true, the worker reports the output of each step. `takeovers` counts the leases that were lost
    since the last outcome or checkpoint. `protocol` names the transport that sends the command.

    `threads` is how many transitions the release's workers run at once. `seconds` is the average duration of one, None
    if no worker has reported it. `has_rest_worker` says whether one of these workers is called over HTTP. `claimed_at`
    is the time of this process's monotonic clock shortly before the lease began.
    """

    execution_id: uuid.UUID
    tenant: str
    pipeline_id: str
    contract_version: str
    release_version: str
    version: int
    lease_token: uuid.UUID
    step_index: int
    attempt: int
    input: str
    input_shape: Shape
    result_shape: ResultShape
    checkpoints: bool
    takeovers: int
    protocol: str
    threads: int
    seconds: float | None
    has_rest_worker: bool
    claimed_at: float


STOCK_SECONDS = 0.4
MOST_STOCK = 500
MOST_BYTES = 4 * 1024**2
"""How many bytes of payloads, as the database stores them, one claim takes; a single larger payload is taken too."""
A_FEW = 10
BUSY_PAUSES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""How many seconds a claim that found nothing waits before it looks again at releases that another claim locks."""

# A release's room is what the workers that may run it do in `span` seconds, at least one execution for each of their
# threads and at most `most`; what runs there takes a place, but for what is at a worker that gets no more work. So a
# slow pipeline is sent only what its workers start on at once, and a fast one a stock. The stock is filled up by a
# quarter or more at a time. Without a worker there is no room, and its executions stay due until one comes.
# The view's capacity also excludes threads that still run cancelled executions or executions that were taken over.
# One claim at a time counts the RUNNING executions of a release, so that concurrent claims never exceed the room.
# Each call of a REST worker is one command, so a release that has such a worker keeps no stock. What a REST worker is
# to run is leased in its name here and now; chance distributes it over all free places of the release.
# Tenants that have something due share `limit` evenly, and the releases of each its share, so that none waits for
# another's backlog, nor for another tenant's many pipelines. Where that is less than one for each, the tenants of few
# releases come first, and chance decides among the releases of one. A quota limits how many executions of each tenant
# are RUNNING, on workers of all protocols; without a quota they are not counted.
_CLAIM = """
WITH host AS MATERIALIZED (
    SELECT release_id, tenant_id, protocol, capacity, transition_seconds, lease_owner, worker_name,
        reason IS NULL AS runs
    FROM executions_workereligibility WHERE present AND release_id IS NOT NULL
), hosted AS (
    SELECT release_id, tenant_id, sum(capacity) FILTER (WHERE runs) AS threads,
        bool_or(protocol = 'rest') FILTER (WHERE runs) AS calls,
        max(transition_seconds) FILTER (WHERE runs) AS seconds,
        array_agg(lease_owner) FILTER (WHERE NOT runs) AS idle,
        array_agg(lease_owner) FILTER (WHERE runs AND protocol = 'rest') AS rest_owners
    FROM host GROUP BY release_id, tenant_id HAVING bool_or(runs)
), wanted AS MATERIALIZED (
    SELECT release_id, tenant_id, threads, calls, idle, rest_owners, seconds
    FROM hosted h
    WHERE (SELECT true FROM executions_execution e WHERE e.release_id = h.release_id
        AND e.status IN ('QUEUED', 'WAIT_RETRY') AND e.next_due_at <= now() LIMIT 1)
), counted AS MATERIALIZED (
    SELECT *, count_running_for_claim(release_id, rest_owners) AS held FROM wanted
), place AS MATERIALIZED (
    SELECT *, threads * CASE WHEN calls OR seconds IS NULL THEN 1
            ELSE least(greatest(%(span)s / greatest(seconds, 0.00001), 1), %(most)s)::bigint END AS room,
        (SELECT coalesce(sum(x.value::bigint), 0) FROM jsonb_each_text(held) x
            WHERE idle IS NULL OR x.key <> ALL (idle)) AS running
    FROM counted WHERE held IS NOT NULL
), ready AS (
    SELECT *, room - running AS free, count(*) OVER (PARTITION BY tenant_id) AS releases
    FROM place WHERE running < room AND (running < threads OR (room - running) * 4 >= room)
), allowed AS MATERIALIZED (
    SELECT tenant_id, CASE WHEN %(quota)s = 0 THEN %(limit)s ELSE greatest(0, %(quota)s - (
        SELECT sum((SELECT count(*) FROM executions_execution x WHERE x.release_id = r.id AND x.status = 'RUNNING'))
        FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
        WHERE p.tenant_id = ready.tenant_id)) END AS allowed
    FROM ready GROUP BY tenant_id
), fair AS (
    SELECT release_id, tenant_id, threads, seconds, calls,
        least(free, greatest(%(limit)s / (SELECT count(DISTINCT tenant_id) FROM ready) / releases, 1)) AS share,
        (SELECT a.allowed FROM allowed a WHERE a.tenant_id = ready.tenant_id) AS allowed
    FROM ready ORDER BY releases, random()
), locked AS (
    SELECT chosen.*, fair.release_id, fair.tenant_id, fair.threads, fair.seconds, fair.calls, fair.allowed
    FROM fair CROSS JOIN LATERAL (
        SELECT e.id, e.version, e.next_due_at, pg_column_size(coalesce(e.progress, e.input)) AS size
        FROM executions_execution e
        WHERE e.release_id = fair.release_id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND e.next_due_at <= now()
        ORDER BY e.next_due_at LIMIT least(fair.share, fair.allowed)
        FOR UPDATE SKIP LOCKED
    ) chosen
    LIMIT %(limit)s
), within_quota AS (
    SELECT *, sum(size) OVER (ORDER BY next_due_at, id) - size AS bytes_before FROM (
        SELECT locked.*, row_number() OVER (PARTITION BY tenant_id ORDER BY next_due_at) AS place FROM locked) l
    WHERE place <= allowed
), due AS (
    SELECT id, version, release_id, threads, seconds, calls FROM within_quota WHERE bytes_before < %(bytes)s
), called AS (
    SELECT r.release_id, h.lease_owner, h.worker_name,
        greatest(h.capacity - coalesce((r.held ->> h.lease_owner)::int, 0), 0) AS free
    FROM ready r JOIN host h ON h.release_id = r.release_id WHERE r.calls AND h.runs AND h.protocol = 'rest'
), slot AS (
    SELECT release_id, protocol, lease_owner, worker_name,
        row_number() OVER (PARTITION BY release_id ORDER BY random()) AS number
    FROM (
        SELECT release_id, 'rest' AS protocol, lease_owner, worker_name, free FROM called
        UNION ALL
        SELECT r.release_id, 'celery', NULL, NULL,
            r.free - (SELECT sum(c.free) FROM called c WHERE c.release_id = r.release_id)
        FROM ready r WHERE r.calls
    ) each CROSS JOIN LATERAL generate_series(1, least(each.free, %(limit)s))
), placed AS MATERIALIZED (
    SELECT d.id, d.version, d.threads, d.seconds, d.calls, coalesce(s.protocol, 'celery') AS protocol, s.lease_owner,
        s.worker_name
    FROM (SELECT *, row_number() OVER (PARTITION BY release_id) AS number FROM due) d
    LEFT JOIN slot s ON d.calls AND s.release_id = d.release_id AND s.number = d.number
), claimed AS (
    UPDATE executions_execution e SET
        status = 'RUNNING', version = e.version + 1, event_count = e.event_count + 1,
        lease_owner = coalesce(p.lease_owner, %(owner)s), lease_protocol = p.protocol, lease_worker = p.worker_name,
        lease_token = gen_random_uuid(), updated_at = now(), lease_expires_at = now() + make_interval(secs =>
            CASE p.protocol WHEN 'rest' THEN greatest(%(lease)s::float, %(call)s::float) ELSE %(lease)s::float END)
    FROM placed p WHERE e.id = ANY (ARRAY(SELECT id FROM placed)) AND e.id = p.id AND e.version = p.version
    RETURNING e.*, p.threads, p.seconds, p.calls
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, 'CLAIMED', status, %(owner)s,
        jsonb_build_object('attempt', attempt, 'stepIndex', current_step_index) FROM claimed
)
SELECT busy.busy, c.id, t.slug, c.pipeline_id, c.contract_version, c.release_version, c.version, c.lease_token,
    c.current_step_index, c.attempt, coalesce(c.progress, c.input)::text, coalesce(c.progress_shape, c.input_shape),
    c.result_shape, c.checkpoints, c.takeovers, c.lease_protocol, c.threads, c.seconds, c.calls
FROM (SELECT EXISTS (SELECT FROM counted WHERE held IS NULL)
    OR EXISTS (SELECT FROM within_quota WHERE bytes_before >= %(bytes)s) AS busy) busy
LEFT JOIN (claimed c JOIN tenancy_tenant t ON t.id = c.tenant_id) ON true
ORDER BY c.next_due_at, c.id
"""


# An arbitrary number that no other advisory lock uses.
_CLAIMING = 0xC1A1


def claim(
    *, owner: str, limit: int, lease_seconds: float, call_seconds: float = 0, quota: int = 0
) -> tuple[list[Claim], bool]:
    """Claim at most `limit` due executions whose release has a worker that may run it and has a free place.

    The lease runs from now by the database's clock. What a REST worker is to run is leased in that worker's name, for
    `call_seconds` at least; the rest in the name of `owner`. Two claims at once never take the same execution, nor
    together more than there is room for. With a `quota`, no tenant has more than `quota` executions RUNNING, and only
    one claim at a time takes anything, so that its counts are right.

    Also returns whether a further claim may find more. A claim never waits for another claim: it skips a release that
    the other claim has locked, and with a `quota` it skips everything. The other claim may have begun too early to see
    an execution that has just become due, so a claim that finds nothing else looks again after a pause. If the other
    claim is stalled, the executions stay due for a later claim.
    """
    claims, busy = _claim_once(owner, limit, lease_seconds, call_seconds, quota)
    for pause in BUSY_PAUSES:
        if claims or not busy:
            break
        time.sleep(pause)
        claims, busy = _claim_once(owner, limit, lease_seconds, call_seconds, quota)
    return claims, busy or len(claims) >= min(A_FEW, limit)


def _claim_once(
    owner: str, limit: int, lease_seconds: float, call_seconds: float, quota: int
) -> tuple[list[Claim], bool]:
    """Return the claims, and whether due work is left: to a claim that has locked its release, or for its bytes."""
    parameters: dict[str, Any] = {
        "owner": owner,
        "limit": limit,
        "lease": lease_seconds,
        "call": call_seconds,
        "span": STOCK_SECONDS,
        "most": MOST_STOCK,
        "bytes": MOST_BYTES,
        "quota": quota,
    }
    claimed_at = time.monotonic()
    with transaction.atomic() if quota else nullcontext(), prepared.cursor() as cursor:
        if quota:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%(key)s)", {"key": _CLAIMING})
            if cursor.fetchone() != (True,):
                return [], True
        cursor.execute(_CLAIM, parameters)
        rows = cursor.fetchall()
    return [Claim(*(*row[1:], claimed_at)) for row in rows if row[1] is not None], bool(rows[0][0])


_EXPIRE = """
WITH expired AS (
    SELECT id, lease_owner, takeovers >= %(most)s AS hopeless FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at <= now()
    ORDER BY lease_expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE executions_execution e SET
        status = CASE WHEN expired.hopeless THEN 'DLQ' ELSE 'QUEUED' END,
        version = e.version + 1, event_count = e.event_count + 1, takeovers = e.takeovers + 1, next_due_at = now(),
        lease_owner = NULL, lease_protocol = NULL, lease_worker = NULL, lease_token = NULL, lease_expires_at = NULL,
        running_since = NULL, updated_at = now(), finished_at = CASE WHEN expired.hopeless THEN now() END,
        error_code = CASE WHEN expired.hopeless THEN 'LEASES_LOST' ELSE e.error_code END,
        error_message = CASE WHEN expired.hopeless THEN %(message)s ELSE e.error_message END
    FROM expired WHERE e.id = expired.id
    RETURNING e.id, e.event_count, e.status, expired.lease_owner, e.takeovers
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, CASE status WHEN 'DLQ' THEN 'LEASES_LOST' ELSE 'LEASE_EXPIRED' END, status, %(actor)s,
        jsonb_build_object('leaseOwner', lease_owner, 'takeovers', takeovers) FROM moved
)
SELECT id, status FROM moved
"""


def expire_leases(*, actor: str, limit: int, most_takeovers: int) -> dict[uuid.UUID, State]:
    """Queue again what its lease holder has left; attempt and transition key stay (wire protocol E.4).

    An execution whose lease was lost `most_takeovers` times in a row ends in DLQ instead: it may well be what kills
    its workers. Returns where each went.
    """
    message = f"The lease was lost {most_takeovers + 1} times in a row; the transition may be killing its workers"
    parameters: dict[str, Any] = {"actor": actor, "limit": limit, "most": most_takeovers, "message": message}
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE, parameters)
        return {execution_id: State(status) for execution_id, status in cursor.fetchall()}


# Only RUNNING executions have a lease token. A worker with a copy of another worker's command cannot renew the lease.
# The lease of a call is not renewed: no Celery worker holds it.
_RENEW = """
WITH locked AS (
    SELECT e.id, held.seconds FROM executions_execution e
    JOIN unnest(%(ids)s::uuid[], %(tokens)s::uuid[], %(seconds)s::float[]) AS held(id, token, seconds)
        ON held.id = e.id
    WHERE e.lease_token = held.token AND e.tenant_id IS NOT DISTINCT FROM %(tenant)s
        AND e.lease_protocol = 'celery' AND (e.lease_worker IS NULL OR e.lease_worker = %(worker)s)
    ORDER BY e.id FOR UPDATE OF e
)
UPDATE executions_execution e SET lease_expires_at = now() + make_interval(secs => %(lease)s), lease_owner = %(owner)s,
    lease_worker = %(worker)s, running_since = coalesce(e.running_since, now() - make_interval(secs => locked.seconds))
FROM locked WHERE e.id = locked.id
RETURNING e.lease_token
"""


def renew_leases(
    tenant_pk: int,
    held: Sequence[tuple[uuid.UUID, uuid.UUID]],
    *,
    worker_id: str,
    lease_seconds: float,
    running: Mapping[uuid.UUID, float] = MappingProxyType({}),
) -> set[uuid.UUID]:
    """Give the leases that are still held their full time again, by the database's clock, and name their worker.

    The first worker that names a lease keeps it. For every other worker the lease is lost.

    `held` are executions with a lease token each. One execution may be there twice: a worker that lost its lease and
    got the execution again still runs both; only the lease that counts is renewed. `running` says of some tokens for
    how many seconds a thread has been running the transition. Returns the tokens that were renewed.
    """
    with prepared.cursor() as cursor:
        cursor.execute(
            _RENEW,
            {
                "lease": lease_seconds,
                "owner": f"worker:{worker_id}",
                "worker": worker_id,
                "ids": [execution_id for execution_id, _ in held],
                "tokens": [token for _, token in held],
                "seconds": [running.get(token) for _, token in held],
                "tenant": tenant_pk,
            },
        )
        return {token for (token,) in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Note:
    """An event that moves nothing."""

    execution_id: uuid.UUID
    actor: str
    data: Mapping[str, Any]


_NOTE = """
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(data)s::jsonb[]) WITH ORDINALITY
        AS a(id, actor, data, place)
), locked AS (
    SELECT e.id FROM executions_execution e
    WHERE e.id = ANY(%(ids)s) ORDER BY e.id FOR UPDATE
), counted AS (
    UPDATE executions_execution e SET event_count = e.event_count + (SELECT count(*) FROM asked a WHERE a.id = e.id)
    FROM locked l WHERE e.id = l.id
    RETURNING e.id, e.event_count, e.status
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
SELECT c.id, c.event_count + 1 - row_number() OVER (PARTITION BY c.id ORDER BY a.place DESC), %(kind)s, c.status,
    a.actor, a.data
FROM counted c JOIN asked a ON a.id = c.id
"""


def note(kind: str, notes: Sequence[Note]) -> None:
    """Write events that move nothing, in their order."""
    if not notes:
        return
    parameters: dict[str, Any] = {
        "kind": kind,
        "ids": [each.execution_id for each in notes],
        "actors": [each.actor for each in notes],
        "data": [Jsonb(dict(each.data)) for each in notes],
    }
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, parameters)
