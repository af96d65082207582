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
class Move:
    """One execution's way from `source` to `target`, with its event. What is None stays as it is, but for the error.

    The guard is `source` and whichever of `version`, `lease_token` and `await_unit` are given. `progress` is what the
    next transition starts from, where its shape is given. `delay` says when it is due.
    """

    execution_id: uuid.UUID
    target: State
    kind: str
    actor: str
    data: Mapping[str, Any]
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


_APPLY = """
WITH asked AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(sources)s::text[], %(versions)s::bigint[], %(tokens)s::uuid[],
        %(units)s::uuid[], %(targets)s::text[], %(kinds)s::text[], %(actors)s::text[], %(data)s::jsonb[],
        %(steps)s::int[], %(attempts)s::int[], %(budgets)s::int[], %(keys)s::text[], %(delays)s::interval[],
        %(progress)s::jsonb[], %(shapes)s::text[], %(new_units)s::uuid[], %(results)s::jsonb[], %(codes)s::text[],
        %(messages)s::text[]) WITH ORDINALITY
        AS a(id, source, version, token, unit, target, kind, actor, data, step, attempt, budget, key, delay, progress,
             shape, new_unit, result, code, message, place)
), locked AS (
    SELECT e.id, a.place FROM executions_execution e JOIN asked a ON a.id = e.id
    WHERE e.status = a.source AND (a.version IS NULL OR e.version = a.version)
        AND (a.token IS NULL OR e.lease_token = a.token) AND (a.unit IS NULL OR e.await_unit_id = a.unit)
    ORDER BY e.id FOR UPDATE OF e
), moved AS (
    UPDATE executions_execution e SET
        status = a.target, version = e.version + 1, event_count = e.event_count + 1, takeovers = 0,
        current_step_index = coalesce(a.step, e.current_step_index), attempt = coalesce(a.attempt, e.attempt),
        budget_start = coalesce(a.budget, e.budget_start), next_due_at = now() + a.delay,
        lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL,
        last_transition_key = coalesce(a.key, e.last_transition_key),
        progress = CASE WHEN a.shape IS NULL THEN e.progress ELSE a.progress END,
        progress_shape = coalesce(a.shape, e.progress_shape), await_unit_id = a.new_unit, result = a.result,
        error_code = a.code, error_message = a.message, updated_at = now(),
        finished_at = CASE WHEN a.target = ANY(%(terminal)s) THEN now() END
    FROM locked l JOIN asked a ON a.place = l.place WHERE e.id = l.id
    RETURNING e.id, a.place, e.event_count, e.status, a.kind, a.actor, a.data
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT id, event_count, kind, status, actor, data, now() FROM moved
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
    columns: dict[str, Any] = {
        "ids": [move.execution_id for move in moves],
        "sources": [move.source.value for move in moves],
        "versions": [move.version for move in moves],
        "tokens": [move.lease_token for move in moves],
        "units": [move.await_unit for move in moves],
        "targets": [move.target.value for move in moves],
        "kinds": [move.kind for move in moves],
        "actors": [move.actor for move in moves],
        "data": [Jsonb(dict(move.data)) for move in moves],
        "steps": [move.step_index for move in moves],
        "attempts": [move.attempt for move in moves],
        "budgets": [move.budget_start for move in moves],
        "keys": [move.transition_key for move in moves],
        "delays": [move.delay for move in moves],
        "progress": [None if move.progress_shape is None else Jsonb(move.progress) for move in moves],
        "shapes": [move.progress_shape for move in moves],
        "new_units": [move.new_await_unit for move in moves],
        "results": [None if move.result is None else Jsonb(move.result) for move in moves],
        "codes": [move.error_code for move in moves],
        "messages": [move.error_message for move in moves],
        "terminal": [state.value for state in TERMINAL],
    }
    with connection.cursor() as cursor:
        cursor.execute(_APPLY, columns)
        return [moves[place - 1] for (place,) in sorted(cursor.fetchall())]


@dataclass(frozen=True, slots=True)
class Claim:
    """An execution that was just claimed, with what its command needs.

    `checkpoints`: there is a step before which it is to stop. After the last step there is none: an execution whose
    last step is an await has only its answer left to give out.
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


# A release's free places: what its healthy workers can hold, less what runs. Without a worker there is none, and
# its executions stay due, stranded but unharmed, until one comes. A REST worker may be silent: only whoever submits
# beats for it, and what is in flight goes on (wire protocol D.8).
_CLAIM = """
WITH room AS (
    SELECT r.id AS release_id, sum(w.capacity) AS capacity
    FROM executions_worker w
    JOIN releases_pipeline p ON p.tenant_id = w.tenant_id AND p.pipeline_id = w.pipeline_id
    JOIN releases_release r ON r.pipeline_id = p.id AND r.contract_version = w.contract_version
        AND r.release_version = w.release_version AND r.status <> 'REJECTED'
    WHERE w.draining_since IS NULL AND w.drained_by_operator_at IS NULL AND w.stopped_at IS NULL
        AND (w.protocol = 'rest'
            OR (w.protocol = 'celery' AND w.last_heartbeat_at > now() - make_interval(secs => %(stale)s)))
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
    c.current_step_index, c.attempt, coalesce(c.progress, c.input)::text, coalesce(c.progress_shape, c.input_shape),
    c.result_shape, c.checkpoints AND c.current_step_index < coalesce((
        SELECT jsonb_array_length(k.document -> 'steps') FROM releases_release r
        JOIN releases_contract k ON k.id = r.contract_id WHERE r.id = c.release_id), 0)
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
    SELECT id, lease_owner, takeovers >= %(most)s AS hopeless FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at <= now()
    ORDER BY lease_expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE executions_execution e SET
        status = CASE WHEN expired.hopeless THEN 'DLQ' ELSE 'QUEUED' END,
        version = e.version + 1, event_count = e.event_count + 1, takeovers = e.takeovers + 1, next_due_at = now(),
        lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL, updated_at = now(),
        finished_at = CASE WHEN expired.hopeless THEN now() END,
        error_code = CASE WHEN expired.hopeless THEN 'LEASES_LOST' ELSE e.error_code END,
        error_message = CASE WHEN expired.hopeless THEN %(message)s ELSE e.error_message END
    FROM expired WHERE e.id = expired.id
    RETURNING e.id, e.event_count, e.status, expired.lease_owner, e.takeovers
), told AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
    SELECT id, event_count, CASE status WHEN 'DLQ' THEN 'LEASES_LOST' ELSE 'LEASE_EXPIRED' END, status, %(actor)s,
        jsonb_build_object('leaseOwner', lease_owner, 'takeovers', takeovers), now() FROM moved
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
