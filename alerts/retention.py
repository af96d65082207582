"""Removes old alerts and messages, in batches. Firing alerts and pending messages are never removed."""

import time
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from alerts import statements

REMOVE_TASK: Final = "alerts.remove_old"


def remove(*, seconds: float) -> int:
    """Remove what ended more than ALERT_RETENTION_DAYS ago, until nothing is left or `seconds` have passed.

    Returns how many alerts, and messages without an alert, were removed.
    """
    deadline = time.monotonic() + seconds
    removed = 0
    for batch in (_alerts, _deliveries):
        while time.monotonic() < deadline:
            count = batch()
            removed += count
            if not count:
                break
    return removed


def _parameters() -> dict[str, int]:
    return {"days": settings.ALERT_RETENTION_DAYS, "limit": settings.SWEEP_LIMIT}


def _alerts() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.REMOVE_ALERTS, _parameters())
        ids = [alert_id for (alert_id,) in cursor.fetchall()]
        if ids:
            cursor.execute(statements.REMOVE_DELIVERIES_OF_ALERTS, [ids])
            cursor.execute(statements.REMOVE_EVENTS, [ids])
    return len(ids)


def _deliveries() -> int:
    with connection.cursor() as cursor:
        cursor.execute(statements.REMOVE_DELIVERIES, _parameters())
        return int(cursor.rowcount)
