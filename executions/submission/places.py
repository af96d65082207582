"""Starts of concurrency keys: refuses executions that cannot start, and starts those that wait once they can.

The database decides (`lock_place`, `rate_wait`, `grant_starts`): see ADR 125.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, connection, transaction

from executions import metrics
from executions.errors import ConcurrencyLimitReached, StartRateReached
from executions.models import Execution
from executions.models.states import State
from executions.state_machine import moves
from executions.state_machine.moves import GRANT_TASK, Move, owner
from executions.submission.insertion import Row, commits
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.database.postgresql.outage import violated_constraint
from foundation.errors import CoordinatorError

REPLACED: Final = "REPLACED"
MOST_AT_ONCE: Final = 500

# Makes the other decisions about a key wait until the transaction ends.
LOCK_KEY = "SELECT lock_key(%s, %s, %s)"

# Locks the executions of a key that newer ones replace, and returns them with their releases and the newest. As
# `is_replaced` says, but it compares none with each other. The caller holds the lock of the key. No row: no execution
# of the key is replaced.
LOCK_REPLACED = """
WITH newest AS MATERIALIZED (
    SELECT n.id FROM executions_execution n
    WHERE n.tenant_id = %(tenant)s AND n.pipeline_id = %(pipeline)s AND n.concurrency_key = %(key)s
        AND n.finished_at IS NULL AND n.next_due_at >= '9000-01-01' AND n.version = 0
        AND NOT starts_with(n.execution_key, 'resubmit:') AND n.parent_id IS NULL
    ORDER BY n.created_at DESC, n.id DESC LIMIT 1
)
SELECT e.id, n.id, t.slug, e.pipeline_id, e.release_version
FROM newest n CROSS JOIN executions_execution e JOIN tenancy_tenant t ON t.id = e.tenant_id
JOIN releases_release r ON r.id = e.release_id AND r.declarations -> 'concurrency' ? 'debounceSeconds'
WHERE e.tenant_id = %(tenant)s AND e.pipeline_id = %(pipeline)s AND e.concurrency_key = %(key)s
    AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01' AND e.status = 'QUEUED' AND e.version = 0 AND NOT e.held
    AND NOT starts_with(e.execution_key, 'resubmit:') AND e.parent_id IS NULL AND e.id <> n.id
ORDER BY e.id LIMIT %(limit)s FOR UPDATE OF e
"""

MOST_KEYS: Final = 500
"""How many keys of open executions one sweep looks at."""
GRANT_DUE_TASK: Final = "executions.grant_due_places"

# Returns the concurrency keys of executions, and whether a release of them debounces. No row: they have none, or were
# removed.
KEYS = """
SELECT e.tenant_id, e.pipeline_id, e.concurrency_key, bool_or(r.declarations -> 'concurrency' ? 'debounceSeconds')
FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
WHERE e.id = ANY(%(ids)s) AND e.concurrency_key IS NOT NULL GROUP BY 1, 2, 3
"""

# Returns the keys of open executions that follow a key, and whether the release debounces of the execution that waits
# for a place of it; NULL if none does. They are found one after the other in the index. No row: no more follow.
WAITING_KEYS = """
WITH RECURSIVE next AS (
    (SELECT e.tenant_id, e.pipeline_id, e.concurrency_key FROM executions_execution e
        WHERE e.concurrency_key IS NOT NULL AND e.finished_at IS NULL
            AND (e.tenant_id, e.pipeline_id, e.concurrency_key) > (%(tenant)s, %(pipeline)s, %(key)s)
        ORDER BY e.tenant_id, e.pipeline_id, e.concurrency_key LIMIT 1)
    UNION ALL
    SELECT later.* FROM next CROSS JOIN LATERAL (
        SELECT e.tenant_id, e.pipeline_id, e.concurrency_key FROM executions_execution e
        WHERE e.concurrency_key IS NOT NULL AND e.finished_at IS NULL
            AND (e.tenant_id, e.pipeline_id, e.concurrency_key)
                > (next.tenant_id, next.pipeline_id, next.concurrency_key)
        ORDER BY e.tenant_id, e.pipeline_id, e.concurrency_key LIMIT 1) later
), looked_at AS (SELECT * FROM next LIMIT %(limit)s)
SELECT l.tenant_id, l.pipeline_id, l.concurrency_key, (SELECT r.declarations -> 'concurrency' ? 'debounceSeconds'
    FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
    WHERE e.tenant_id = l.tenant_id AND e.pipeline_id = l.pipeline_id AND e.concurrency_key = l.concurrency_key
        AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01' ORDER BY e.next_due_at, e.id LIMIT 1)
FROM looked_at l
"""
GRANT = "SELECT granted, wait_seconds, replaced FROM grant_starts(%s, %s, %s)"
Key = tuple[int, str, str]
_swept_to: Key = (0, "", "")


def insert(rows: Sequence[Row]) -> tuple[list[datetime | None], dict[uuid.UUID, CoordinatorError]]:
    """Insert `rows` as `commits.commit` does. Return its results, and the refusals by the ids of rows.

    Each row has a separate transaction: with two keys, two transactions could wait for each other. So each is newer
    than the one before it.
    """
    times: list[datetime | None] = []
    refused: dict[uuid.UUID, CoordinatorError] = {}
    for row in rows:
        try:
            with transaction.atomic():
                times += commits.commit([row])
        except IntegrityError as error:
            refused[row.id] = _refusal(error, row.concurrency_key)
            times.append(None)
    return times, refused


def _refusal(error: IntegrityError, key: str) -> CoordinatorError:
    match violated_constraint(error):
        case "execution_place_free":
            detail = f"As many executions with the key {key!r} are in progress as the release allows."
            return ConcurrencyLimitReached(detail)
        case "execution_rate_free":
            detail = f"As many executions with the key {key!r} have started as the release allows in its period."
            return StartRateReached(detail, retryAfter=1)
    raise error


def announce(ids: Collection[uuid.UUID]) -> None:
    """Send the wake-up that decides about the keys of these executions, which are new or have ended."""
    if ids:
        wakeup.send(GRANT_TASK, [str(execution_id) for execution_id in ids])


def grant(ids: Collection[uuid.UUID]) -> int:
    """Give free places of the keys of these executions to those that wait. Return how many got one."""
    with connection.cursor() as cursor:
        cursor.execute(KEYS, {"ids": [*ids]})
        return _grant(cursor.fetchall())


def sweep() -> int:
    """Do what `grant` does for the next MOST_KEYS keys: wake-ups may be lost, and times pass."""
    global _swept_to
    parameters: dict[str, Any] = dict(zip(("tenant", "pipeline", "key"), _swept_to, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(WAITING_KEYS, {**parameters, "limit": MOST_KEYS})
        rows = cursor.fetchall()
    _swept_to = rows[-1][:3] if len(rows) == MOST_KEYS else (0, "", "")
    return _grant([row for row in rows if row[3] is not None])


def _grant(keys: Collection[tuple[int, str, str, bool]]) -> int:
    """Each key has its own transaction, so that no two of them wait for each other."""
    granted, waits = 0, []
    for tenant, pipeline, key, debounces in keys:
        with transaction.atomic():
            count, wait_seconds = _grant_key((tenant, pipeline, key), debounces=debounces)
        granted += count
        if wait_seconds is not None:
            waits.append(wait_seconds)
    if granted:
        wakeup.send_once(DISPATCH_TASK)
    if waits:
        wakeup.send_once(GRANT_DUE_TASK, delay=timedelta(seconds=max(min(waits), 0.001)))
    return granted


def _grant_key(key: Key, *, debounces: bool) -> tuple[int, float | None]:
    """Return how many executions of a key got a place, and in how many seconds another may get one.

    The seconds are None if others wait for the end of an execution, or none waits. What newer submissions replace is
    cancelled first: with `debounces`, also what waits behind the newest one because of its priority.
    """
    granted = 0
    with connection.cursor() as cursor:
        if debounces:
            cursor.execute(LOCK_KEY, key)
            while cancel_replaced(key):
                pass
        while True:
            cursor.execute(GRANT, key)
            count, wait_seconds, replaced = cursor.fetchone()
            granted += count
            if not replaced or not cancel_replaced(key):
                return granted, wait_seconds


def cancel_replaced(key: Key) -> int:
    """Cancel at most MOST_AT_ONCE executions of a key that newer ones replace. Return how many were cancelled."""
    parameters: dict[str, Any] = dict(zip(("tenant", "pipeline", "key"), key, strict=True))
    with connection.cursor() as cursor:
        cursor.execute(LOCK_REPLACED, {**parameters, "limit": MOST_AT_ONCE})
        rows = cursor.fetchall()
    moved = moves.apply([_replacement(pk, newest) for pk, newest, *_ in rows])
    releases = {pk: release for pk, _, *release in rows}
    for move in moved:
        metrics.finished.add(*releases[move.execution_id], State.CANCELLED.value)
    return len(moved)


def newer_of(replaced: Execution) -> uuid.UUID:
    """Return the id of the execution that replaced one with the error code REPLACED."""
    return uuid.UUID(replaced.events.get(kind=REPLACED).data["executionId"])


def _replacement(execution_id: uuid.UUID, newest: uuid.UUID) -> Move:
    return Move(
        execution_id,
        State.CANCELLED,
        REPLACED,
        owner(),
        {"previousStatus": State.QUEUED, "executionId": str(newest)},
        source=State.QUEUED,
        version=0,
        error_code=REPLACED,
        error_message=f"The newer execution {newest} with the same concurrency key replaces it",
    )
