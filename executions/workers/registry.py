"""Which transition workers there are, what they host, and whether they are alive (wire protocol B.3, D.8)."""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from executions.errors import WorkerLimitReached, WorkerUnknown
from executions.lifecycle import moves
from executions.models import Execution, Worker, WorkerEligibility, WorkerEvent
from foundation.wakeups import wakeup
from tenancy.models import Tenant
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat

DISPATCH_TASK = "executions.dispatch"
TELL_TASK = "executions.tell_worker"
CELERY, REST = "celery", "rest"
SETTLED_SECONDS = 1.0
REMEMBERED = Q(last_heartbeat_at__gt=Now() - timedelta(days=1))
LIVE = REMEMBERED & Q(stopped_at=None) & (Q(alive_until=None) | Q(alive_until__gt=Now()))
IDS_PER_WORKER = 10
"""How many ids, for each worker that a tenant may have, can be registered within a day."""


def find(tenant: Tenant, pipeline_id: str, worker_id: str) -> Worker:
    """Raises `WorkerUnknown`."""
    rows = Worker.objects.select_related("eligibility")
    found = rows.filter(tenant=tenant, pipeline_id=pipeline_id, worker_id=worker_id).first()
    if found is None:
        raise WorkerUnknown(f"Pipeline {pipeline_id!r} has no worker {worker_id!r}.")
    return found


def alive_until(protocol: str) -> CombinedExpression | None:
    """Return when a worker whose heartbeat arrives now becomes STALE, by the database's clock; None if it never does.

    Celery workers send their own heartbeats. For other workers another process sends them (wire protocol B.3).
    """
    seconds = settings.WORKER_STALE_SECONDS if protocol == CELERY else settings.REST_WORKER_STALE_SECONDS
    return Now() + timedelta(seconds=seconds) if seconds > 0 else None


def find_or_register(tenant: Tenant, pipeline_id: str, worker_id: str, members: dict[str, Any]) -> tuple[Worker, bool]:
    """Lock and return the worker. Register it with `members` if it is unknown; the second value tells whether it was.

    Raises `WorkerLimitReached` if MAX_TENANT_WORKERS other workers are alive, or if the tenant has used IDS_PER_WORKER
    times as many ids within a day. Locks the tenant, so that concurrent registrations cannot exceed the limits. Call
    this in a transaction.
    """
    rows = Worker.objects.select_for_update().filter(tenant=tenant, pipeline_id=pipeline_id, worker_id=worker_id)
    before = transaction.savepoint()
    live = rows.filter(LIVE).first()
    if live is not None:
        transaction.savepoint_commit(before)
        return live, False
    # A worker that stopped while its lock was awaited is locked although it is not returned. The tenant comes first.
    transaction.savepoint_rollback(before)
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    most, workers = settings.MAX_TENANT_WORKERS, Worker.objects.filter(tenant=tenant)
    if workers.filter(LIVE).count() >= most:
        raise WorkerLimitReached(f"MAX_TENANT_WORKERS allows {most} workers.")
    remembered = rows.filter(REMEMBERED).first()
    if remembered is not None:
        return remembered, False
    if workers.filter(REMEMBERED).count() >= IDS_PER_WORKER * most:
        raise WorkerLimitReached(f"MAX_TENANT_WORKERS allows {IDS_PER_WORKER * most} worker ids within a day.")
    return rows.get_or_create(tenant=tenant, pipeline_id=pipeline_id, worker_id=worker_id, defaults=members)


def take_heartbeat(tenant: Tenant, identity: ReleaseIdentity, beat: Heartbeat, sent_at: datetime) -> None:
    """Register or refresh a worker, renew the leases that it holds, and wake dispatch for work that waited for it.

    A heartbeat that was sent before the newest known one changes nothing. A heartbeat of a stopped worker registers it
    again, which ends a drain that the worker started but not one that an operator ordered (wire protocol B.3). A worker
    gets an order if it has received none, if its state is not the one that the operators want, or if it holds lost
    leases: it may have restarted, or the broker lost the order. Raises `WorkerLimitReached`.
    """
    with transaction.atomic():
        members = {**_reported(identity, beat, sent_at), "registered_at": Now(), **_since(beat, None)}
        worker, created = find_or_register(tenant, identity.pipeline_id, beat.worker_id, members)
        if not created and sent_at <= worker.last_sent_at:
            return
        before = None if created else worker
        if before is not None:
            again = {"registered_at": Now()} if before.stopped_at and beat.state != "UNAVAILABLE" else {}
            Worker.objects.filter(pk=before.pk).update(
                **_reported(identity, beat, sent_at), **_since(beat, before), **again
            )
        lost = _lost_leases(beat, _renewed(tenant, beat))
        state = _state_after(beat, before)
        _note_beat(worker.pk, identity, beat, before, state)
        if beat.state == "HEALTHY" and (lost or not beat.answered or beat.taking != (state == "HEALTHY")):
            wakeup.send(TELL_TASK, worker.pk, *([lost] if lost else []))
        if state == "HEALTHY":
            wakeup.send_once(DISPATCH_TASK)


def _renewed(tenant: Tenant, beat: Heartbeat) -> set[uuid.UUID]:
    """Renew the worker's leases, record which transitions a thread has begun, and return the renewed tokens.

    If the worker has no usable thread, waiting commands may never start. Their leases expire, and other workers take
    over.
    """
    waiting = beat.waiting if beat.abandoned < beat.capacity else []
    return moves.renew_leases(
        tenant.pk,
        [(lease.execution_id, lease.lease_token) for lease in (*beat.running, *waiting)],
        worker_id=beat.worker_id,
        lease_seconds=settings.LEASE_SECONDS,
        running={lease.lease_token: lease.seconds for lease in beat.running},
    )


def _lost_leases(beat: Heartbeat, renewed: Collection[uuid.UUID]) -> list[str]:
    """Return the lost leases that the worker still holds, for its next order.

    A lease that was not renewed may also have ended with an outcome that the worker sent after its heartbeat. Such
    leases are young, so only leases of SETTLED_SECONDS or more are returned.
    """
    held = (*beat.running, *beat.waiting)
    return [
        str(lease.lease_token)
        for lease in held
        if lease.seconds >= SETTLED_SECONDS and lease.lease_token not in renewed
    ]


def tell_of_lost_lease(execution: Execution) -> None:
    """Notify the worker that holds the execution's lease that the lease is lost. Call this where the lease ends.

    If no heartbeat has named the lease yet, its worker is unknown; the heartbeat that names it causes the order.
    """
    if execution.lease_protocol != CELERY or execution.lease_worker is None:
        return
    rows = Worker.objects.filter(tenant=execution.tenant_id, pipeline_id=execution.pipeline_id, protocol=CELERY)
    if (holder := rows.filter(worker_id=execution.lease_worker).first()) is not None:
        wakeup.send(TELL_TASK, holder.pk, [str(execution.lease_token)])


def _reported(identity: ReleaseIdentity, beat: Heartbeat, sent_at: datetime) -> dict[str, object]:
    return {
        "contract_version": identity.contract_version,
        "release_version": identity.release_version,
        "protocol": CELERY,
        "endpoint": "",
        "blocked_reason": "",
        "capability_checked_at": None,
        "artifact_id": beat.artifact_id,
        "artifact_digest": beat.artifact_digest,
        "capacity": beat.capacity,
        "taking": beat.taking,
        "holding": len(beat.running) + len(beat.waiting) + beat.abandoned,
        "running": len(beat.running),
        "abandoned": beat.abandoned,
        "transition_seconds": beat.transition_seconds,
        "last_heartbeat_at": Now(),
        "last_sent_at": sent_at,
        "alive_until": alive_until(CELERY),
    }


def _since(beat: Heartbeat, before: Worker | None) -> dict[str, object]:
    """Since when it drains or is gone: the first time that it said so, not the last."""
    draining = before.draining_since if before else None
    stopped = before.stopped_at if before else None
    return {
        "draining_since": (draining or Now()) if beat.state == "DRAINING" else None,
        "stopped_at": (stopped or Now()) if beat.state == "UNAVAILABLE" else None,
    }


def _state_after(beat: Heartbeat, before: Worker | None) -> str:
    """The worker's state with this heartbeat: what it says, unless an operator drains it."""
    drained = before is not None and before.drained_by_operator_at is not None
    return "DRAINING" if beat.state == "HEALTHY" and drained else beat.state


def _note_beat(pk: int, identity: ReleaseIdentity, beat: Heartbeat, before: Worker | None, state: str) -> None:
    """An event where the heartbeat changed the state, or the release that is hosted."""
    hosted = {"contractVersion": identity.contract_version, "releaseVersion": identity.release_version}
    if before is None or (before.stopped_at and beat.state != "UNAVAILABLE"):
        cause = "REGISTERED"
    elif (before.contract_version, before.release_version) != (identity.contract_version, identity.release_version):
        cause = "RELEASE_CHANGED"
    elif before.noted_state != state:
        cause, hosted = {"DRAINING": "WORKER_DRAINS", "UNAVAILABLE": "STOPPED"}.get(state, "HEARD_AGAIN"), {}
    else:
        return
    note(pk, state, actor=f"worker:{beat.worker_id}", cause=cause, **hosted)


def drain(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str, reason: str = "") -> Worker:
    """Have a worker finish what it holds and take no more, until an operator says otherwise. No heartbeat undoes it.

    From now on nothing is claimed on its account. The process is told by a message, and again at each heartbeat that
    shows that it has not heard. A worker that an operator drains already is returned as it is. Raises `WorkerUnknown`.
    """
    with transaction.atomic():
        found = find(tenant, pipeline_id, worker_id)
        rows = Worker.objects.filter(pk=found.pk, drained_by_operator_at=None)
        if rows.update(drained_by_operator_at=Now()):
            _note_order(found, actor=actor, cause="OPERATOR_DRAINED", reason=reason)
            wakeup.send(TELL_TASK, found.pk)
        return find(tenant, pipeline_id, worker_id)


def undrain(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str, reason: str = "") -> Worker:
    """Take an operator's drain back; what the worker says of itself counts again. Raises `WorkerUnknown`."""
    with transaction.atomic():
        found = find(tenant, pipeline_id, worker_id)
        rows = Worker.objects.filter(pk=found.pk).exclude(drained_by_operator_at=None)
        if rows.update(drained_by_operator_at=None):
            _note_order(found, actor=actor, cause="OPERATOR_UNDRAINED", reason=reason)
            wakeup.send(TELL_TASK, found.pk)
            wakeup.send_once(DISPATCH_TASK)
        return find(tenant, pipeline_id, worker_id)


def _note_order(of: Worker, *, actor: str, cause: str, reason: str) -> None:
    note(of.pk, WorkerEligibility.objects.get(pk=of.pk).state, actor=actor, cause=cause, reason=reason)


def note(pk: int, state: str, *, actor: str, **data: str) -> None:
    """Write an event and keep its state on the row, which the caller has locked by an update."""
    Worker.objects.filter(pk=pk).update(noted_state=state)
    WorkerEvent.objects.create(worker_id=pk, state=state, actor=actor, data=data)


# A row that changed since the view was read is skipped, because the state from the view is outdated.
_NOTE_SILENT = """
WITH silent AS (
    SELECT w.id FROM executions_workereligibility v
    JOIN executions_worker seen ON seen.id = v.worker_id
    JOIN executions_worker w ON w.id = seen.id AND w.noted_state = seen.noted_state
        AND w.last_heartbeat_at = seen.last_heartbeat_at
    WHERE v.state = 'STALE' AND seen.noted_state <> 'STALE'
    ORDER BY w.id LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED
), noted AS (
    UPDATE executions_worker w SET noted_state = 'STALE' FROM silent WHERE w.id = silent.id
    RETURNING w.id, w.last_heartbeat_at
)
INSERT INTO executions_workerevent (worker_id, state, actor, data)
SELECT id, 'STALE', %(actor)s, jsonb_build_object('cause', 'SILENT', 'lastHeartbeatAt', last_heartbeat_at)
FROM noted
"""


def note_silent(*, actor: str, limit: int) -> int:
    """Write an event for each worker that has become silent, at most `limit`. Returns how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_SILENT, {"limit": limit, "actor": actor})
        return int(cursor.rowcount)
