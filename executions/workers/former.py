"""Former workers: those that stopped. Gives up workers after a long silence, and removes former ones with their events.

Names of workers are often new with each start, such as those of pods. So former workers are in no index that a claim
or an admission reads, and do not stay forever.
"""

from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction

from executions.workers import statements

GIVEN_UP_DAYS: Final = 2
"""After this silence a Celery worker counts as stopped. The alert on lost workers looks at up to two days."""


def tidy(*, actor: str) -> int:
    """Give up one batch of silent workers, and remove one batch of former ones. Returns how many there were."""
    parameters: dict[str, Any] = {"limit": settings.SWEEP_LIMIT, "actor": actor}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.GIVE_UP, {**parameters, "days": GIVEN_UP_DAYS})
        given_up = int(cursor.rowcount)
        cursor.execute(statements.REMOVE_FORMER, {**parameters, "days": settings.WORKER_RETENTION_DAYS})
        removed = [worker_id for (worker_id,) in cursor.fetchall()]
        if removed:
            cursor.execute(statements.REMOVE_EVENTS_OF_FORMER, [removed])
    return given_up + len(removed)
