"""Every move of executions, as one guarded UPDATE with its events in the same statement.

All functions take groups. A row whose guard fails is simply not among those returned: somebody else moved it first.
Rows are locked in the order of their ids, so that two groups can never wait for each other in a circle.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from psycopg.types.json import Jsonb

from coordinator.transitions import sources
from executions.protocol import ResultShape, Shape
from executions.states import MOVES, TERMINAL, State


@dataclass(frozen=True, slots=True)
class LeasedMove:
    """Where a RUNNING execution goes when its lease holder has answered, guarded by version and fencing token."""

    execution_id: uuid.UUID
    version: int
    lease_token: uuid.UUID
    target: State
    kind: str
    actor: str
    data: Mapping[str, Any]
    step_index: int
    attempt: int
    transition_key: str | None = None
    delay: timedelta = timedelta()
    result: list[Any] | None = None
    error_code: str | None = None
    error_message: str | None = None


_LEAVE = """
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[], %(tokens)s::uuid[], %(targets)s::text[],
        %(kinds)s::text[], %(actors)s::text[], %(data)s::jsonb[], %(steps)s::int[], %(attempts)s::int[],
        %(keys)s::text[], %(delays)s::interval[], %(results)s::jsonb[], %(codes)s::text[], %(messages)s::text[])
        AS a(id, version, token, target, kind, actor, data, step, attempt, key, delay, result, code, message)
), locked AS (
    SELECT e.id, a.token FROM executions_execution e JOIN asked a ON a.id = e.id
    WHERE e.status = 'RUNNING' AND e.version = a.version AND e.lease_token = a.token
    ORDER BY e.id FOR UPDATE OF e
), moved AS (
    UPDATE executions_execution e SET
        status = a.target, version = e.version + 1, event_count = e.event_count + 1,
        current_step_index = a.step, attempt = a.attempt, next_due_at = now() + a.delay,
        lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL,
        last_transition_key = coalesce(a.key, e.last_transition_key), result = a.result,
        error_code = a.code, error_message = a.message, updated_at = now(),
        finished_at = CASE WHEN a.target = ANY(%(terminal)s) THEN now() END
    FROM locked l JOIN asked a ON a.id = l.id AND a.token = l.token WHERE e.id = l.id
    RETURNING e.id, a.token, e.event_count, e.status, a.kind, a.actor, a.data
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT id, event_count, kind, status, actor, data, now() FROM moved
)
SELECT token FROM moved
"""


def leave_lease(moves: Sequence[LeasedMove]) -> set[uuid.UUID]:
    """Apply `moves`, at most one for a lease token, and return the tokens whose leases were held and are now given up.

    Where several are for one execution, at most the one under the lease that is held counts.
    """
    if not moves:
        return set()
    for move in moves:
        if move.target not in MOVES[State.RUNNING]:
            raise ValueError(f"There is no move from RUNNING to {move.target}.")
    columns: dict[str, Any] = {
        "ids": [move.execution_id for move in moves],
        "versions": [move.version for move in moves],
        "tokens": [move.lease_token for move in moves],
        "targets": [move.target.value for move in moves],
        "kinds": [move.kind for move in moves],
        "actors": [move.actor for move in moves],
        "data": [Jsonb(dict(move.data)) for move in moves],
        "steps": [move.step_index for move in moves],
        "attempts": [move.attempt for move in moves],
        "keys": [move.transition_key for move in moves],
        "delays": [move.delay for move in moves],
        "results": [None if move.result is None else Jsonb(move.result) for move in moves],
        "codes": [move.error_code for move in moves],
        "messages": [move.error_message for move in moves],
        "terminal": [state.value for state in TERMINAL],
    }
    with connection.cursor() as cursor:
        cursor.execute(_LEAVE, columns)
        return {row[0] for row in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that was just claimed, with what its command needs."""

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


# A release's free places: what its healthy workers can hold, less what runs. Without a worker there is none, and
# its executions stay due, stranded but unharmed, until one comes.
_CLAIM = """
WITH room AS (
    SELECT r.id AS release_id, sum(w.capacity) AS capacity
    FROM executions_worker w
    JOIN releases_pipeline p ON p.tenant_id = w.tenant_id AND p.pipeline_id = w.pipeline_id
    JOIN releases_release r ON r.pipeline_id = p.id AND r.contract_version = w.contract_version
        AND r.release_version = w.release_version AND r.status <> 'REJECTED'
    WHERE w.draining_since IS NULL AND w.stopped_at IS NULL
        AND w.last_heartbeat_at > now() - make_interval(secs => %(stale)s)
        AND (w.artifact_digest = '' OR coalesce((
            SELECT bool_or(a.blob_id = w.artifact_digest) FROM releases_artifact a WHERE a.release_id = r.id), true))
    GROUP BY r.id
), place AS (
    SELECT room.release_id, room.capacity - (
        SELECT count(*) FROM executions_execution x
        WHERE x.release_id = room.release_id AND x.status = 'RUNNING') AS free
    FROM room
), due AS (
    SELECT chosen.id FROM place
    CROSS JOIN LATERAL (
        SELECT e.id FROM executions_execution e
        WHERE e.release_id = place.release_id AND e.status = ANY(%(sources)s) AND e.next_due_at <= now()
        ORDER BY e.next_due_at LIMIT least(greatest(place.free, 0), %(limit)s)
        FOR UPDATE SKIP LOCKED
    ) chosen
    LIMIT %(limit)s
), claimed AS (
    UPDATE executions_execution e SET
        status = 'RUNNING', version = e.version + 1, event_count = e.event_count + 1, lease_owner = %(owner)s,
        lease_token = gen_random_uuid(), lease_expires_at = now() + make_interval(secs => %(lease)s), updated_at = now()
    FROM due WHERE e.id = due.id AND e.status = ANY(%(sources)s)
    RETURNING e.*
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT id, event_count, 'CLAIMED', status, %(owner)s,
        jsonb_build_object('attempt', attempt, 'stepIndex', current_step_index), now() FROM claimed
)
SELECT c.id, t.slug, c.pipeline_id, c.contract_version, c.release_version, c.version, c.lease_token,
    c.current_step_index, c.attempt, c.input::text, c.input_shape, c.result_shape
FROM claimed c JOIN tenancy_tenant t ON t.id = c.tenant_id
"""


def claim(*, owner: str, limit: int, lease_seconds: float, stale_seconds: float) -> list[Claim]:
    """Claim at most `limit` due executions whose release has a healthy worker with a free place.

    The lease runs from now by the database's clock. Two claims at once never take the same execution.
    """
    parameters: dict[str, Any] = {
        "owner": owner,
        "limit": limit,
        "lease": lease_seconds,
        "stale": stale_seconds,
        "sources": [state.value for state in sources(MOVES, State.RUNNING)],
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, parameters)
        return [Claim(*row) for row in cursor.fetchall()]


_EXPIRE = """
WITH expired AS (
    SELECT id, lease_owner FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at <= now()
    ORDER BY lease_expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE executions_execution e SET
        status = 'QUEUED', version = e.version + 1, event_count = e.event_count + 1, next_due_at = now(),
        lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL, updated_at = now()
    FROM expired WHERE e.id = expired.id
    RETURNING e.id, e.event_count, e.status, expired.lease_owner
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT id, event_count, 'LEASE_EXPIRED', status, %(actor)s, jsonb_build_object('leaseOwner', lease_owner), now()
    FROM moved
)
SELECT id FROM moved
"""


def expire_leases(*, actor: str, limit: int) -> int:
    """Queue again what its lease holder has left; attempt and transition key stay (wire protocol E.4)."""
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE, {"actor": actor, "limit": limit})
        return len(cursor.fetchall())


_RENEW = """
UPDATE executions_execution e SET lease_expires_at = now() + make_interval(secs => %(lease)s)
FROM unnest(%(ids)s::uuid[], %(tokens)s::uuid[]) AS held(id, token)
WHERE e.id = held.id AND e.lease_token = held.token AND e.status = 'RUNNING' AND e.tenant_id = %(tenant)s
"""


def renew_leases(tenant_pk: int, held: Sequence[tuple[uuid.UUID, uuid.UUID]], *, lease_seconds: float) -> int:
    """Give the leases that are still held their full time again, by the database's clock.

    `held` are executions with a lease token each. One execution may be there twice: a worker that lost its lease and
    got the execution again still runs both; only the lease that counts is renewed.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _RENEW,
            {
                "lease": lease_seconds,
                "ids": [execution_id for execution_id, _ in held],
                "tokens": [token for _, token in held],
                "tenant": tenant_pk,
            },
        )
        return int(cursor.rowcount)


_NOTE = """
WITH counted AS (
    UPDATE executions_execution e SET event_count = e.event_count + 1
    WHERE e.id = %(id)s AND e.tenant_id = %(tenant)s RETURNING e.id, e.event_count, e.status
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
SELECT id, event_count, %(kind)s, status, %(actor)s, %(data)s, now() FROM counted
"""


def note(execution_id: uuid.UUID, tenant_pk: int, kind: str, *, actor: str, data: Mapping[str, Any]) -> None:
    """Write an event that moves nothing."""
    parameters: dict[str, Any] = {
        "id": execution_id,
        "tenant": tenant_pk,
        "kind": kind,
        "actor": actor,
        "data": Jsonb(dict(data)),
    }
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, parameters)
