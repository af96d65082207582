"""The bell: a message that hints at work which a committed row already holds.

A lost bell makes work late, never lost, since the sweep finds the row. So a broken broker is logged and never an
error to the caller.
"""

import logging
from datetime import timedelta
from functools import partial
from typing import Any

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)
# The due time is a column; a message may wait for it only where the broker holds it for less than a minute.
LONGEST_DELAY = timedelta(seconds=55)


def ring(task: str, *arguments: Any, delay: timedelta | None = None) -> None:
    """Send `task` by name once the current transaction commits, at once outside of one. Never raises for the broker.

    With a `delay` beyond a minute nothing is sent: the sweep will see to the row when it is due.
    """
    if delay is not None and delay > LONGEST_DELAY:
        return
    transaction.on_commit(partial(_send, task, arguments, delay))


def _send(task: str, arguments: tuple[Any, ...], delay: timedelta | None) -> None:
    try:
        current_app.send_task(task, args=arguments, countdown=delay.total_seconds() if delay else None, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("The broker did not take %s; the sweep will do its work: %s", task, type(error).__name__)
