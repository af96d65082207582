"""The sweep of executions that say when they start: it expires them, promotes low ones, and gives places (ADR 125).

It is one statement while no execution uses any of this.
"""

import uuid
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from executions import metrics
from executions.awaits.awaits import CALL_TASK
from executions.lifecycle import statements
from executions.models.states import EXPIRED, State
from executions.state_machine import moves
from executions.state_machine.moves import FAMILY_TASK, Move, owner
from executions.submission import places
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup

MOST_PROMOTED: Final = 1000
"""How many executions of low priority of one release are due at once, at most."""


def sweep() -> int:
    """Expire, promote, and give places to, what is due for it. Return how many executions were changed.

    Announce the calls of children and the ends that no message announced (`executions.children`).
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.FIND_STARTS)
        has_expired, has_low, has_keys, has_ends, has_calls = cursor.fetchone()
    if has_ends:
        wakeup.send(FAMILY_TASK)
    if has_calls:
        wakeup.send(CALL_TASK)
    changed = expire() if has_expired else 0
    changed += promote() if has_low else 0
    return changed + (places.sweep() if has_keys else 0)


def expire() -> int:
    """Cancel executions that no worker got by the time that their submission named. Return how many there were."""
    expired = 0
    while found := _expire_some():
        expired += found
    return expired


def _expire_some() -> int:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statements.LOCK_UNSTARTED, {"limit": settings.SWEEP_LIMIT})
            rows = cursor.fetchall()
        releases = {pk: release for pk, _, *release in rows}
        moved = moves.apply([_expiry(pk, at) for pk, at, *_ in rows])
    for move in moved:
        metrics.finished.add(*releases[move.execution_id], State.CANCELLED.value)
    return len(moved)


def _expiry(execution_id: uuid.UUID, expires_at: str) -> Move:
    return Move(
        execution_id,
        State.CANCELLED,
        EXPIRED,
        owner(),
        {"previousStatus": State.QUEUED, "expiresAt": expires_at},
        source=State.QUEUED,
        version=0,
        error_code=EXPIRED,
        error_message=f"No worker got the execution by {expires_at}",
    )


def promote() -> int:
    """Make executions of low priority due, as many as free workers do until the second next sweep. Return how many.

    A release with other due work gets fewer of them, or none.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.PROMOTE, {"seconds": 2 * settings.SWEEP_SECONDS, "most": MOST_PROMOTED})
        promoted: int = cursor.rowcount
    if promoted:
        wakeup.send_once(DISPATCH_TASK)
    return promoted
