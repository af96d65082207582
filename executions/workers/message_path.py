"""Records whether heartbeats reach the control workers in time.

While they do not, no worker becomes silent, and no lease expires (ADR 24).
"""

import logging
from functools import partial

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from executions.models import MessagePath
from foundation.wakeups.broker_gate import gate
from wire.broker import client
from wire.messages.queues import HEARTBEAT_QUEUE

CONFIRM_TASK = "executions.confirm_messages"
log = logging.getLogger(__name__)

# After an interruption, `alive_until` of every worker that was alive when it began is extended by its length, because
# no heartbeat could arrive. For a worker with a later heartbeat, the length counts from that heartbeat. If two
# processes confirm at once, the second waits for the row and then finds no interruption.
_CONFIRM = """
WITH interrupted AS (
    SELECT arrived_at AS since FROM executions_messagepath WHERE expected_by < now() FOR UPDATE
), alive AS (
    SELECT w.id FROM executions_worker w CROSS JOIN interrupted i
    WHERE w.protocol = 'celery' AND w.alive_until >= i.since
    ORDER BY w.id FOR UPDATE OF w
), credited AS (
    UPDATE executions_worker w SET alive_until = w.alive_until + (now() - greatest(i.since, w.last_heartbeat_at))
    FROM alive CROSS JOIN interrupted i WHERE w.id = alive.id
), confirmed AS (
    INSERT INTO executions_messagepath AS path (id, arrived_at, expected_by)
    VALUES (1, now(), now() + make_interval(secs => %s))
    ON CONFLICT (id) DO UPDATE SET arrived_at = excluded.arrived_at, expected_by = excluded.expected_by
        WHERE path.arrived_at < excluded.arrived_at
)
SELECT since, extract(epoch FROM now() - since) FROM interrupted
"""

# The leases that were valid when the interruption began are extended by its length too, because no heartbeat could
# renew them. A lease that was granted or renewed later is extended to its full time. The call of a REST worker does not
# need messages: its lease outlives the call, and its outcome goes straight to the database.
_EXTEND_LEASES = """
WITH unrenewed AS (
    SELECT id FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at >= %(since)s
        AND lease_expires_at < now() + make_interval(secs => %(lease)s)
        AND lease_protocol = 'celery'
    ORDER BY id FOR UPDATE
)
UPDATE executions_execution e
SET lease_expires_at = least(e.lease_expires_at + (now() - %(since)s), now() + make_interval(secs => %(lease)s))
FROM unrenewed WHERE e.id = unrenewed.id
"""


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
        cursor.execute(_CONFIRM, [settings.MESSAGE_PATH_SECONDS])
        interrupted = cursor.fetchone()
        if interrupted:
            cursor.execute(_EXTEND_LEASES, {"since": interrupted[0], "lease": settings.LEASE_SECONDS})
    if interrupted:
        log.warning("Messages arrive again, after %.1f seconds without any", interrupted[1])


def is_interrupted() -> bool:
    """Return True if no message has arrived in time for MESSAGE_PATH_SECONDS."""
    return MessagePath.objects.filter(expected_by__lt=Now()).exists()
