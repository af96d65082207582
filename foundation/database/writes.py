"""Writes that find out their outcome.

`move` changes the state of a row with a guarded UPDATE, and checks the number of updated rows. The guard names the
state that the row must still have. Zero rows mean that another process changed the state first. The caller decides what
to do then, but never overwrites the other change.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import DEFAULT_DB_ALIAS, Error, connection, connections

from foundation.database.postgresql.outage import rejects_values

if TYPE_CHECKING:  # the clock loads no models
    from django.db.models import QuerySet

log = logging.getLogger(__name__)
S = TypeVar("S", bound=StrEnum)
Recorded = TypeVar("Recorded")
KEPT_SECONDS: Final = 300.0
"""How long `record_when_accepted` tries. The broker keeps a message with outcomes (`executions.tasks.record`)."""
FIRST_WAIT_SECONDS: Final = 0.25
LONGEST_WAIT_SECONDS: Final = 2.0


def move(rows: "QuerySet[Any]", moves: Mapping[S, Collection[S]], source: S, target: S, **changes: Any) -> bool:
    """Move the row in `rows` from `source` to `target`, with `changes`. Return False if its state is not `source`.

    Raises ValueError for a move that `moves` does not contain, which is an error of the program.
    """
    if target not in moves[source]:
        raise ValueError(f"There is no move from {source} to {target}.")
    return rows.filter(status=source).update(status=target, **changes) == 1


def after_commit(do: Callable[[], object]) -> None:
    """Call `do` when the current transaction commits; at once outside of one, where `on_commit` costs ten calls."""
    used = connections[DEFAULT_DB_ALIAS]
    if used.in_atomic_block:
        used.on_commit(do)
    else:
        do()


def record_when_accepted(record: Callable[[], Recorded]) -> Recorded:
    """Record what only this process knows, such as the answer to a call, although the database may be unavailable.

    Call `record` until the database accepts what it writes, for at most KEPT_SECONDS. Return its result. `record` makes
    one transaction, and must not change anything if that was committed before: the connection may be lost during the
    commit. Raises the last error when the time is over, and at once if the database rejects the values: any other error
    says nothing about the result, such as a column that is missing until a migration ends.
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
