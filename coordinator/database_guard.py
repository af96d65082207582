"""Guards the connections of a process against a silent database host and against a former primary (ADR 75).

The processes remember the newest timeline of each cluster in the broker, because a former primary does not know it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import current_app
from django.conf import settings

from foundation.broker_gate import REFUSALS
from foundation.database.postgresql import base
from foundation.database.postgresql.servers import Chooser, Server, Timelines

KEY: Final = "coordinator:timelines"
"""A sorted set in the broker: system identifiers, with their newest timelines."""


def start() -> None:
    """Guard all connections that this process opens from now on."""
    base.guard(Chooser(Timelines(_exchange), answer_seconds=settings.DATABASE_ANSWER_SECONDS))


@contextmanager
def during_command() -> Iterator[None]:
    """Refuse a former primary in the block. Commands may take hours, so they wait for answers without a limit."""
    base.guard(Chooser(Timelines(_exchange), answer_seconds=None))
    try:
        yield
    finally:
        base.guard(None)


def exchange() -> None:
    """Tell other processes the newest timeline that this one has seen, and learn theirs."""
    chooser = base.DatabaseWrapper.chooser
    if chooser is not None and (newest := chooser.timelines.newest) is not None:
        chooser.timelines.admit(Server(newest.system, _exchange(newest.system, newest.timeline)))


def _exchange(system: int, timeline: int = 0) -> int:
    """Raise the shared timeline of a system to `timeline`. Return it; `timeline` if the broker does not answer."""
    connection: Any
    try:
        with current_app.pool.acquire(block=True) as connection:
            client = connection.default_channel.client
            client.zadd(KEY, {str(system): timeline}, gt=True)
            return int(client.zscore(KEY, str(system)))
    except REFUSALS:
        return timeline
