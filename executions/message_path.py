"""Records whether messages reach the control workers. While none does, no worker becomes silent (ADR 24)."""

import logging

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from executions.models import MessagePath

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
SELECT extract(epoch FROM now() - since) FROM interrupted
"""


def confirm() -> None:
    """Record that a message of the clock has arrived. The task that the clock sends calls this first."""
    with connection.cursor() as cursor:
        cursor.execute(_CONFIRM, [settings.MESSAGE_PATH_SECONDS])
        interrupted = cursor.fetchone()
    if interrupted:
        log.warning("Messages arrive again, after %.1f seconds without any", interrupted[0])


def is_interrupted() -> bool:
    """Return True if no message has arrived for MESSAGE_PATH_SECONDS."""
    return MessagePath.objects.filter(expected_by__lt=Now()).exists()
