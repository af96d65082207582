"""Records whether heartbeats and outcomes reach the control workers in time.

While heartbeats do not, no worker becomes silent, and no lease expires (ADR 24). While outcomes do not, no lease
expires, and nothing is claimed for Celery workers (ADR 73).
"""

import logging
import uuid
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from executions.workers.tenant_keys import active_keys
from foundation.broker_gate import gate
from wire.broker import sending
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, OutcomeGroup
from wire.messages.queues import HEARTBEAT_QUEUE, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.sealing import seal

CONFIRM_TASK = "executions.confirm_messages"
PROBE_TENANT = "@coordinator"
"""No tenant can have this name, so no worker has its key."""
NIL = uuid.UUID(int=0)
log = logging.getLogger(__name__)


def send_probes() -> None:
    """Send a message with the database's time behind the heartbeats that wait, and one behind the outcomes if any wait.

    An empty queue of outcomes needs no message, because it shows the same as one that has arrived.
    """
    with connection.cursor() as cursor:
        cursor.execute(MOMENT)
        now, expected = cursor.fetchone()
    gate.send(partial(sending.send, CONFIRM_TASK, now, queue=HEARTBEAT_QUEUE))
    lengths: list[int] = []
    if not gate.send(lambda: lengths.append(sending.length(OUTCOME_QUEUE))):
        return
    if lengths == [0]:
        if expected:
            confirm_outcomes(now)
        return
    with connection.cursor() as cursor:
        cursor.execute(EXPECT_OUTCOMES, {"sent": now, "seconds": settings.MESSAGE_PATH_SECONDS})
    gate.send(partial(sending.send, RECORD_TASK, _outcome_probe(now), queue=OUTCOME_QUEUE))


def _outcome_probe(sent_at: float) -> dict[str, Any]:
    """Return a message of outcomes with the time of sending in its identity.

    Control workers of earlier versions accept nothing else from the queue. To them it is a checkpoint of an execution
    that does not exist, which they ignore.
    """
    identity = ReleaseIdentity(PROBE_TENANT, "outcomes", "probe", repr(sent_at))
    nothing = Checkpoint(
        execution_id=NIL, execution_version=0, lease_token=NIL, transition_key="", next_step_index=1, output_payloads=[]
    )
    return seal(identity, OutcomeGroup(worker_id="coordinator", checkpoints=[nothing]), *active_keys(PROBE_TENANT))


def probe_time(identity: ReleaseIdentity) -> float | None:
    """Return when a probe with this verified identity was sent; None if the message is no probe."""
    return float(identity.release_version) if identity.tenant_id == PROBE_TENANT else None


def take_probe(sent_at: float) -> None:
    """Confirm that messages arrive, unless this one is late: then heartbeats are late too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        [now] = cursor.fetchone()
    if now - sent_at <= settings.MESSAGE_PATH_SECONDS:
        confirm()


def confirm() -> None:
    """Record that a message has arrived in time.

    Workers are locked before executions, in the order in which a heartbeat locks them.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CONFIRM_MESSAGES, [settings.MESSAGE_PATH_SECONDS])
        interrupted = cursor.fetchone()
        if interrupted:
            _extend_leases(cursor, since=interrupted[0], within=settings.LEASE_SECONDS)
    if interrupted:
        log.warning("Messages arrive again, after %.1f seconds without any", interrupted[1])


def confirm_outcomes(sent_at: float) -> None:
    """Record that all outcomes that were sent before `sent_at` have been read.

    If they had been late and no longer are, the leases that have expired meanwhile are extended.
    """
    parameters = {"sent": sent_at, "seconds": settings.MESSAGE_PATH_SECONDS}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CONFIRM_OUTCOMES, parameters)
        late = cursor.fetchone()
        if late:
            _extend_leases(cursor, since=late[0], within=0)
    if late:
        log.warning("Outcomes are read in time again, after a backlog of %.1f seconds", late[1])


def _extend_leases(cursor: Any, *, since: datetime, within: float) -> None:
    """Extend the leases that were valid at `since` and expire `within` that many seconds, by the time since then."""
    parameters = {"since": since, "within": within, "lease": settings.LEASE_SECONDS}
    cursor.execute(EXTEND_LEASES, parameters)


def outcome_delay() -> float:
    """Return by how many seconds outcomes are read late; 0 if they are read within MESSAGE_PATH_SECONDS."""
    with connection.cursor() as cursor:
        cursor.execute(OUTCOME_DELAY)
        delay = cursor.fetchone()
    return float(delay[0]) if delay else 0.0


def is_interrupted() -> bool:
    """Return True if no heartbeat, or no outcome that waited, could arrive within MESSAGE_PATH_SECONDS."""
    with connection.cursor() as cursor:
        cursor.execute(INTERRUPTED)
        return bool(cursor.fetchone()[0])


# --- the SQL statements: what each does, and what it means if it affects or returns no row ---

# Records that a message has arrived in time. Returns when the interruption began, and its length in seconds. No row:
# there was no interruption.
#
# After an interruption, `alive_until` of every worker that was alive when it began is extended by its length, because
# no heartbeat could arrive. For a worker with a later heartbeat, the length counts from that heartbeat. If two
# processes confirm at once, the second waits for the row and then finds no interruption.
CONFIRM_MESSAGES = """
WITH interrupted AS (
    SELECT arrived_at AS since FROM executions_messagepath WHERE expected_by < now() FOR UPDATE
), alive AS (
    SELECT w.id FROM executions_worker w CROSS JOIN interrupted i
    WHERE w.stopped_at IS NULL AND w.protocol = 'celery' AND w.alive_until >= i.since
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

# Returns the database's time in seconds since 1970, and whether a message behind outcomes is unread. Always one row.
MOMENT = """
SELECT extract(epoch FROM clock_timestamp())::float8,
    EXISTS (SELECT FROM executions_outcomepath WHERE unread_since IS NOT NULL)
"""

# Records that a message was sent behind the outcomes that wait. No row: an earlier one has not been read.
EXPECT_OUTCOMES = """
INSERT INTO executions_outcomepath AS path (id, began_at, unread_since, expected_by)
SELECT 1, sent, sent, sent + make_interval(secs => %(seconds)s) FROM to_timestamp(%(sent)s::float8) AS sent
ON CONFLICT (id) DO UPDATE SET began_at = excluded.began_at, unread_since = excluded.unread_since,
    expected_by = excluded.expected_by
    WHERE path.unread_since IS NULL
"""

# Records that the outcomes before a message were read. Returns when the backlog began, and its length in seconds, if
# outcomes were late until now. No row: they were in time, or they are still late.
#
# A message that was read in time ends the backlog. A late one shortens it: the outcomes behind it are as late. One from
# before the backlog, which the broker delivered twice, changes nothing.
CONFIRM_OUTCOMES = """
WITH backlog AS (
    SELECT began_at, expected_by < now() AS late, sent, sent + make_interval(secs => %(seconds)s) >= now() AS in_time
    FROM executions_outcomepath, to_timestamp(%(sent)s::float8) AS sent
    WHERE unread_since <= sent FOR UPDATE OF executions_outcomepath
), confirmed AS (
    UPDATE executions_outcomepath SET began_at = CASE WHEN NOT in_time THEN backlog.began_at END,
        unread_since = CASE WHEN NOT in_time THEN sent END,
        expected_by = CASE WHEN NOT in_time THEN sent + make_interval(secs => %(seconds)s) END
    FROM backlog
)
SELECT began_at, extract(epoch FROM now() - began_at) FROM backlog WHERE late AND in_time
"""

# Returns for how many seconds outcomes have not been read. No row: they are read in time.
OUTCOME_DELAY = """
SELECT extract(epoch FROM now() - unread_since)::float8 FROM executions_outcomepath WHERE expected_by < now()
"""

# Returns whether heartbeats or outcomes are late.
INTERRUPTED = """
SELECT EXISTS (SELECT FROM executions_messagepath WHERE expected_by < now())
    OR EXISTS (SELECT FROM executions_outcomepath WHERE expected_by < now())
"""

# Extends the leases that were valid when the interruption began by its length too, because no heartbeat could renew
# them, and the outcome of a call could not be recorded if the database was away. After a backlog of outcomes, it only
# extends those that have expired: other outcomes are on time. No row: no worker held such a lease.
#
# A lease that was granted or renewed later is extended to its full time.
EXTEND_LEASES = """
WITH unrenewed AS (
    SELECT id FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at >= %(since)s
        AND lease_expires_at < now() + make_interval(secs => %(within)s)
    ORDER BY id FOR UPDATE
)
UPDATE executions_execution e
SET lease_expires_at = least(e.lease_expires_at + (now() - %(since)s), now() + make_interval(secs => %(lease)s))
FROM unrenewed WHERE e.id = unrenewed.id
"""
