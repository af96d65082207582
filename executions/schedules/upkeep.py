"""Looks for due schedules, and removes old fires. Loads nothing that only installations with schedules need."""

from typing import Final

from django.db import connection

from executions.schedules import statements
from foundation import wakeup

REMOVED_AT_ONCE: Final = 1000


def announce() -> None:
    """Send a wake-up if a schedule or a fire is due. It costs one statement, which reads two small indexes."""
    with connection.cursor() as cursor:
        cursor.execute(statements.IS_DUE)
        if cursor.fetchone() == (True,):
            wakeup.send_once(statements.FIRE_TASK)


def remove_old() -> int:
    """Remove old fires whose executions are removed, as the tenant's term for executions says. Return their number."""
    with connection.cursor() as cursor:
        cursor.execute(statements.REMOVE_OLD, {"limit": REMOVED_AT_ONCE})
        return int(cursor.rowcount)
