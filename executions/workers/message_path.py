"""Records whether heartbeats reach the control workers in time.

While they do not, no worker becomes silent, and no lease expires (ADR 24).
"""

import logging
from functools import partial

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from executions.models import MessagePath
from executions.workers import statements
from foundation.wakeups.broker_gate import gate
from wire.broker import client
from wire.messages.queues import HEARTBEAT_QUEUE

CONFIRM_TASK = "executions.confirm_messages"
log = logging.getLogger(__name__)


def send_probe() -> None:
    """Send a message with the database's time to the queue of heartbeats, behind all heartbeats that wait there."""
    gate.send(partial(client.send, CONFIRM_TASK, _database_time(), queue=HEARTBEAT_QUEUE))


def take_probe(sent_at: float) -> None:
    """Confirm that messages arrive, unless this one is late: then heartbeats are late too."""
    if _database_time() - sent_at <= settings.MESSAGE_PATH_SECONDS:
        confirm()


def _database_time() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(cursor.fetchone()[0])


def confirm() -> None:
    """Record that a message has arrived in time.

    Workers are locked before executions, in the order in which a heartbeat locks them.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.CONFIRM_MESSAGES, [settings.MESSAGE_PATH_SECONDS])
        interrupted = cursor.fetchone()
        if interrupted:
            cursor.execute(statements.EXTEND_LEASES, {"since": interrupted[0], "lease": settings.LEASE_SECONDS})
    if interrupted:
        log.warning("Messages arrive again, after %.1f seconds without any", interrupted[1])


def is_interrupted() -> bool:
    """Return True if no message has arrived in time for MESSAGE_PATH_SECONDS."""
    return MessagePath.objects.filter(expected_by__lt=Now()).exists()
