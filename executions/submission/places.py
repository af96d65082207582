"""Places of concurrency keys: inserts executions that are refused without one, and gives free ones to those that wait.

The database decides (`lock_place`, `grant_places`): see ADR 125.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.db import IntegrityError, connection, transaction

from executions.errors import ConcurrencyLimitReached
from executions.state_machine.moves import GRANT_TASK
from executions.submission.insertion import Row, commits
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.database.postgresql.outage import violated_constraint

MOST_KEYS: Final = 500
"""How many keys of open executions one sweep looks at."""
FULL: Final = datetime.max.replace(tzinfo=UTC)
_PLACE_FREE: Final = "execution_place_free"

# Returns the concurrency keys of executions. No row: they have none, or were removed.
KEYS = """
SELECT DISTINCT e.tenant_id, e.pipeline_id, e.concurrency_key FROM executions_execution e
WHERE e.id = ANY(%(ids)s) AND e.concurrency_key IS NOT NULL
"""

# Returns the keys of open executions that follow a key, and whether an execution waits for a place of each. They are
# found one after the other in the index. No row: no more follow.
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
SELECT l.tenant_id, l.pipeline_id, l.concurrency_key, EXISTS (SELECT FROM executions_execution e
    WHERE e.tenant_id = l.tenant_id AND e.pipeline_id = l.pipeline_id AND e.concurrency_key = l.concurrency_key
        AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01')
FROM looked_at l
"""
GRANT = "SELECT grant_places(%s, %s, %s)"
Key = tuple[int, str, str]
_swept_to: Key = (0, "", "")


def insert(rows: Sequence[Row]) -> list[datetime | None]:
    """Insert `rows` as `commits.commit` does. The time of one for which no place was free is `FULL`.

    Each row has a transaction of its own: with two keys, two transactions could wait for each other.
    """
    times: list[datetime | None] = []
    for row in rows:
        try:
            with transaction.atomic():
                times += commits.commit([row])
        except IntegrityError as error:
            if violated_constraint(error) != _PLACE_FREE:
                raise
            times.append(FULL)
    return times


def refusal(key: str) -> ConcurrencyLimitReached:
    return ConcurrencyLimitReached(f"As many executions with the key {key!r} are in progress as the release allows.")


def announce(ids: Collection[uuid.UUID]) -> None:
    """Send the wake-up that decides about the keys of these executions, which are new or have ended."""
    if ids:
        wakeup.send(GRANT_TASK, [str(each) for each in ids])


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
        found = cursor.fetchall()
    _swept_to = found[-1][:3] if len(found) == MOST_KEYS else (0, "", "")
    return _grant([(tenant, pipeline, key) for tenant, pipeline, key, waits in found if waits])


def _grant(keys: Collection[Key]) -> int:
    """Each key has its own transaction, so that no two of them wait for each other."""
    granted = 0
    for key in keys:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(GRANT, key)
            granted += cursor.fetchone()[0]
    if granted:
        wakeup.send_once(DISPATCH_TASK)
    return granted
