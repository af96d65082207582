"""Records what only this process knows, such as the answer to a call, although the database may be unavailable."""

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.db import Error, connection

from foundation.database.postgresql.outage import rejects_values

log = logging.getLogger(__name__)
KEPT_SECONDS: Final = 300.0
"""For how long a result in hand is kept. The broker keeps a message with outcomes (`executions.tasks.record`)."""
FIRST_WAIT_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 2.0
Recorded = TypeVar("Recorded")


def record_in_hand(record: Callable[[], Recorded]) -> Recorded:
    """Call `record` until the database accepts what it writes, for at most KEPT_SECONDS. Return its result.

    `record` makes one transaction, and must not change anything if that was committed before: the connection may be
    lost during the commit. Raises the last error when the time is over, and at once if the database rejects the values:
    any other error says nothing about the result, such as a column that is missing until a migration ends.
    """
    until = time.monotonic() + KEPT_SECONDS
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return record()
        except Error as error:
            if rejects_values(error) or time.monotonic() + wait > until:
                raise
            log.warning("A result could not be recorded (%s). Trying again", type(error).__name__)
        connection.close_if_unusable_or_obsolete()
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)
