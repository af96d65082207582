"""Cancels executions that wait for the quiet time of their release when a newer submission has their key (ADR 125)."""

import uuid
from typing import Any, Final

from django.db import connection

from executions import metrics
from executions.models import Execution
from executions.models.states import State
from executions.state_machine import moves
from executions.state_machine.moves import Move, owner

REPLACED: Final = "REPLACED"
MOST_AT_ONCE: Final = 500

# Locks the executions of a key that newer ones replace, and returns them with their releases and the newest. The caller
# holds the lock of the key. No row: no execution of the key is replaced.
LOCK_REPLACED = """
WITH newest AS MATERIALIZED (
    SELECT n.id FROM executions_execution n
    WHERE n.tenant_id = %(tenant)s AND n.pipeline_id = %(pipeline)s AND n.concurrency_key = %(key)s
        AND n.finished_at IS NULL AND n.next_due_at >= '9000-01-01' AND n.version = 0
        AND NOT starts_with(n.execution_key, 'resubmit:')
    ORDER BY n.created_at DESC, n.id DESC LIMIT 1
)
SELECT e.id, (SELECT id FROM newest), t.slug, e.pipeline_id, e.release_version
FROM executions_execution e JOIN tenancy_tenant t ON t.id = e.tenant_id
WHERE e.tenant_id = %(tenant)s AND e.pipeline_id = %(pipeline)s AND e.concurrency_key = %(key)s
    AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01' AND e.status = 'QUEUED' AND e.version = 0 AND NOT e.held
    AND e.id IS DISTINCT FROM (SELECT id FROM newest) AND is_replaced(e.id)
ORDER BY e.id LIMIT %(limit)s FOR UPDATE OF e
"""


def cancel_replaced(key: tuple[int, str, str]) -> int:
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
