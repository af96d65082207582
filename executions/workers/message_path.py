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

from executions.workers import statements
from executions.workers.tenant_keys import active_keys
from foundation.broker_gate import gate
from wire.broker import client
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
        cursor.execute(statements.MOMENT)
        now, expected = cursor.fetchone()
    gate.send(partial(client.send, CONFIRM_TASK, now, queue=HEARTBEAT_QUEUE))
    lengths: list[int] = []
    if not gate.send(lambda: lengths.append(client.length(OUTCOME_QUEUE))):
        return
    if lengths == [0]:
        if expected:
            confirm_outcomes(now)
        return
    with connection.cursor() as cursor:
        cursor.execute(statements.EXPECT_OUTCOMES, {"sent": now, "seconds": settings.MESSAGE_PATH_SECONDS})
    gate.send(partial(client.send, RECORD_TASK, _outcome_probe(now), queue=OUTCOME_QUEUE))


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
        cursor.execute(statements.CONFIRM_MESSAGES, [settings.MESSAGE_PATH_SECONDS])
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
        cursor.execute(statements.CONFIRM_OUTCOMES, parameters)
        late = cursor.fetchone()
        if late:
            _extend_leases(cursor, since=late[0], within=0)
    if late:
        log.warning("Outcomes are read in time again, after a backlog of %.1f seconds", late[1])


def _extend_leases(cursor: Any, *, since: datetime, within: float) -> None:
    """Extend the leases that were valid at `since` and expire `within` that many seconds, by the time since then."""
    parameters = {"since": since, "within": within, "lease": settings.LEASE_SECONDS}
    cursor.execute(statements.EXTEND_LEASES, parameters)


def outcome_delay() -> float:
    """Return by how many seconds outcomes are read late; 0 if they are read within MESSAGE_PATH_SECONDS."""
    with connection.cursor() as cursor:
        cursor.execute(statements.OUTCOME_DELAY)
        found = cursor.fetchone()
    return float(found[0]) if found else 0.0


def is_interrupted() -> bool:
    """Return True if no heartbeat, or no outcome that waited, could arrive within MESSAGE_PATH_SECONDS."""
    with connection.cursor() as cursor:
        cursor.execute(statements.INTERRUPTED)
        return bool(cursor.fetchone()[0])
