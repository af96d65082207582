"""The registry of workers: heartbeats, drains, and the events of each worker."""

import uuid
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from executions.errors import WorkerLimitReached, WorkerUnknown
from executions.models import CodeOrigin, Execution, Worker, WorkerEligibility, WorkerEvent
from executions.state_machine import moves
from executions.step_reports import step_reports
from executions.workers import statements
from foundation import wakeup
from foundation.database import prepared
from foundation.database.compiled import Compiled
from releases.models import Pipeline, UnverifiedWorkers
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat

DISPATCH_TASK = "executions.dispatch"
INSTRUCT_TASK = "executions.tell_worker"
CELERY, REST = "celery", "rest"
SETTLED_SECONDS = 1.0
REST_STALE_SECONDS = 120.0
REMEMBERED = Q(last_heartbeat_at__gt=Now() - timedelta(days=1))
LIVE = REMEMBERED & Q(stopped_at=None) & (Q(alive_until=None) | Q(alive_until__gt=Now()))
IDS_PER_WORKER = 10
"""How many ids, for each worker that a tenant may have, can be registered within a day."""


def find(tenant: Tenant, pipeline_id: str, worker_id: str) -> Worker:
    """Return one worker of the pipeline. Raises `WorkerUnknown`."""
    rows = Worker.objects.select_related("eligibility")
    worker = rows.filter(tenant=tenant, pipeline_id=pipeline_id, worker_id=worker_id).first()
    if worker is None:
        raise WorkerUnknown(f"Pipeline {pipeline_id!r} has no worker {worker_id!r}.")
    return worker


def alive_until(protocol: str) -> CombinedExpression:
    """Return when a worker whose heartbeat arrives now becomes STALE, by the database's clock.

    Celery workers send their own heartbeats. For other workers another process sends them.
    """
    return Now() + timedelta(seconds=settings.WORKER_STALE_SECONDS if protocol == CELERY else REST_STALE_SECONDS)


def _locked(tenant: int, pipeline: str, worker: str) -> QuerySet[Worker]:
    return Worker.objects.select_for_update().filter(tenant=tenant, pipeline_id=pipeline, worker_id=worker)


_LIVE = Compiled(lambda **names: _locked(**names).filter(LIVE).order_by(), tenant=-1, pipeline="pipeline", worker="id")


def find_or_register(tenant: Tenant, pipeline_id: str, worker_id: str, members: dict[str, Any]) -> tuple[Worker, bool]:
    """Lock and return the worker. Register it with `members` if it is unknown; the second value tells whether it was.

    Raises `WorkerLimitReached` if as many other workers are alive as MAX_TENANT_WORKERS or the tenant's quota allows,
    or if the tenant has used IDS_PER_WORKER times MAX_TENANT_WORKERS ids within a day. Locks the tenant, so
    that concurrent registrations cannot exceed the limits. Call this in a transaction.
    """
    rows = _locked(tenant.pk, pipeline_id, worker_id)
    before = transaction.savepoint()
    live = _LIVE.first(tenant=tenant.pk, pipeline=pipeline_id, worker=worker_id)
    if live is not None:
        transaction.savepoint_commit(before)
        return live, False
    # A worker that stopped while its lock was awaited is locked although it is not returned. The tenant comes first.
    transaction.savepoint_rollback(before)
    quota = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk).quota_workers
    most, workers = settings.MAX_TENANT_WORKERS, Worker.objects.filter(tenant=tenant)
    others = workers.filter(LIVE).count()
    if others >= most:
        raise WorkerLimitReached(f"MAX_TENANT_WORKERS allows {most} workers.")
    if quota is not None and others >= quota:
        raise WorkerLimitReached(f"The tenant's quota workers is {quota:,}.", quota="workers")
    remembered = rows.filter(REMEMBERED).first()
    if remembered is not None:
        return remembered, False
    if workers.filter(REMEMBERED).count() >= IDS_PER_WORKER * most:
        raise WorkerLimitReached(f"MAX_TENANT_WORKERS allows {IDS_PER_WORKER * most} worker ids within a day.")
    return rows.get_or_create(tenant=tenant, pipeline_id=pipeline_id, worker_id=worker_id, defaults=members)


def take_heartbeat(tenant: Tenant, identity: ReleaseIdentity, heartbeat: Heartbeat, sent_at: datetime) -> None:
    """Register or refresh a worker, renew the leases that it holds, and wake dispatch for work that waited for it.

    A heartbeat that was sent before the newest known one changes nothing. A heartbeat of a stopped worker registers it
    again, which ends a drain that the worker started but not one that an operator ordered. A worker
    gets an instruction if it has received none, if its state is not the one that the operators and the pipeline's
    policy want, or if it holds lost leases: it may have restarted, or the broker lost the instruction. Raises
    `WorkerLimitReached`.
    """
    with transaction.atomic():
        reported = _reported(identity, heartbeat, sent_at)
        members = {**reported, **_first_times(heartbeat)}
        worker, created = find_or_register(tenant, identity.pipeline_id, heartbeat.worker_id, members)
        if not created and sent_at <= worker.last_sent_at:
            return
        before = None if created else worker
        if before is not None:
            # A process without instructions has never accepted a command, so it is new, or another one had this id.
            is_new = before.stopped_at is not None or not heartbeat.answered
            _refresh(before, reported, heartbeat.state, registers=is_new and heartbeat.state != "UNAVAILABLE")
        renewed = _renewed(tenant, heartbeat)
        lost = _lost_leases(heartbeat, renewed)
        if heartbeat.reports:
            step_reports.store(report for report in heartbeat.reports if report.lease_token in renewed)
        drained = before is not None and before.drained_by_operator_at is not None
        state = "DRAINING" if heartbeat.state == "HEALTHY" and drained else heartbeat.state
        _note_heartbeat(worker.pk, identity, heartbeat, before, state)
        refused = is_refused(tenant.pk, identity.pipeline_id, heartbeat.code or "")
        contradicts = heartbeat.taking != (state == "HEALTHY" and not refused)
        if heartbeat.state == "HEALTHY" and (lost or not heartbeat.answered or contradicts):
            wakeup.send(INSTRUCT_TASK, worker.pk, *([lost] if lost else []))
        if state == "HEALTHY":
            wakeup.send_once(DISPATCH_TASK)


def _renewed(tenant: Tenant, heartbeat: Heartbeat) -> set[uuid.UUID]:
    """Renew the worker's leases, record which transitions a thread has begun, and return the renewed tokens.

    If the worker has no usable thread, waiting commands may never start. Their leases expire, and other workers take
    over.
    """
    waiting = heartbeat.waiting if heartbeat.abandoned < heartbeat.capacity else []
    if not (heartbeat.running or waiting):
        return set()
    return moves.renew_leases(
        tenant.pk,
        [(lease.execution_id, lease.lease_token) for lease in (*heartbeat.running, *waiting)],
        worker_id=heartbeat.worker_id,
        lease_seconds=settings.LEASE_SECONDS,
        running={lease.lease_token: lease.seconds for lease in heartbeat.running},
    )


def _lost_leases(heartbeat: Heartbeat, renewed: Collection[uuid.UUID]) -> list[str]:
    """Return the lost leases that the worker still holds, for its next instruction, and make their loss final.

    A lease that was not renewed may also have ended with an outcome that the worker sent after its heartbeat. Such
    leases are young, so only leases of SETTLED_SECONDS or more are returned.
    """
    held = (*heartbeat.running, *heartbeat.waiting)
    lost = [
        (lease.execution_id, lease.lease_token)
        for lease in held
        if lease.seconds >= SETTLED_SECONDS and lease.lease_token not in renewed
    ]
    if lost:
        moves.forget_lost_leases(lost)
    return [str(token) for _, token in lost]


def announce_lost_lease(execution: Execution) -> None:
    """Notify the worker that holds the execution's lease that the lease is lost. Call this where the lease ends.

    If no heartbeat has named the lease yet, its worker is unknown; the heartbeat that names it causes the instruction.
    """
    if execution.lease_protocol != CELERY or execution.lease_worker is None:
        return
    rows = Worker.objects.filter(tenant=execution.tenant_id, pipeline_id=execution.pipeline_id, protocol=CELERY)
    if (holder := rows.filter(worker_id=execution.lease_worker).first()) is not None:
        wakeup.send(INSTRUCT_TASK, holder.pk, [str(execution.lease_token)])


def _reported(identity: ReleaseIdentity, heartbeat: Heartbeat, sent_at: datetime) -> dict[str, Any]:
    """Return the columns that a heartbeat sets, except the times of the database's clock."""
    fingerprint, environment = _environment(heartbeat)
    return {
        "contract_version": identity.contract_version,
        "release_version": identity.release_version,
        "protocol": CELERY,
        "endpoint": "",
        "blocked_reason": "",
        "capability_checked_at": None,
        "artifact_id": heartbeat.artifact_id,
        "artifact_digest": heartbeat.artifact_digest,
        "code": heartbeat.code or "",
        "capacity": heartbeat.capacity,
        "taking": heartbeat.taking,
        "holding": len(heartbeat.running) + len(heartbeat.waiting) + heartbeat.abandoned,
        "running": len(heartbeat.running),
        "abandoned": heartbeat.abandoned,
        "transition_seconds": heartbeat.transition_seconds,
        "last_sent_at": sent_at,
        "environment_fingerprint": fingerprint,
        "environment": environment,
    }


def _first_times(heartbeat: Heartbeat) -> dict[str, Any]:
    return {
        "registered_at": Now(),
        "last_heartbeat_at": Now(),
        "alive_until": alive_until(CELERY),
        "draining_since": Now() if heartbeat.state == "DRAINING" else None,
        "stopped_at": Now() if heartbeat.state == "UNAVAILABLE" else None,
    }


def _refresh(before: Worker, reported: dict[str, Any], state: str, *, registers: bool) -> None:
    """Update the row of a worker that has sent a further heartbeat.

    The environment may be large, so it is sent to the database only if it changed. A worker drains or has stopped since
    the first heartbeat that reported it.
    """
    environment = reported["environment"]
    is_known = before.environment == environment
    parameters: dict[str, Any] = {
        **reported,
        "id": before.pk,
        "environment": None if is_known or environment is None else Jsonb(environment),
        "is_known": is_known,
        "registers": registers,
        "drains": state == "DRAINING",
        "stops": state == "UNAVAILABLE",
        "stale": settings.WORKER_STALE_SECONDS,
    }
    with prepared.cursor() as cursor:
        cursor.execute(statements.REFRESH, parameters)


def _note_heartbeat(
    pk: int, identity: ReleaseIdentity, heartbeat: Heartbeat, before: Worker | None, state: str
) -> None:
    """Write an event if the heartbeat changed the worker's state, its release, its code or its environment."""
    hosted = {"contractVersion": identity.contract_version, "releaseVersion": identity.release_version}
    if before is None or (before.stopped_at and heartbeat.state != "UNAVAILABLE"):
        cause = "REGISTERED"
    elif (before.contract_version, before.release_version) != (identity.contract_version, identity.release_version):
        cause = "RELEASE_CHANGED"
    elif before.noted_state != state:
        cause, hosted = {"DRAINING": "WORKER_DRAINS", "UNAVAILABLE": "STOPPED"}.get(state, "HEARD_AGAIN"), {}
    else:
        cause, hosted = "", {}
    events: list[dict[str, Any]] = [{"cause": cause, **hosted}] if cause else []
    events += _code_changes(heartbeat, before, hosts_anew=bool(hosted))
    for data in events:
        note(pk, state, actor=f"worker:{heartbeat.worker_id}", **data)


def drain(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str, reason: str = "") -> Worker:
    """Drain a worker until an operator ends the drain: it finishes its transitions and gets no more.

    No heartbeat ends the drain. From now on nothing is claimed for the worker. An instruction is sent to the process,
    and again after each heartbeat that contradicts it. A worker that an operator drains already is returned unchanged.
    Raises `WorkerUnknown`.
    """
    return _set_drain(Act.WORKER_DRAIN, tenant, pipeline_id, worker_id, actor, reason)


def undrain(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str, reason: str = "") -> Worker:
    """End an operator's drain, so that the worker's own state applies again. Raises `WorkerUnknown`."""
    return _set_drain(Act.WORKER_UNDRAIN, tenant, pipeline_id, worker_id, actor, reason)


def _set_drain(act: Act, tenant: Tenant, pipeline_id: str, worker_id: str, actor: str, reason: str) -> Worker:
    drains = act is Act.WORKER_DRAIN
    with transaction.atomic():
        worker = find(tenant, pipeline_id, worker_id)
        rows = Worker.objects.filter(pk=worker.pk, drained_by_operator_at__isnull=drains)
        if rows.update(drained_by_operator_at=Now() if drains else None):
            state = WorkerEligibility.objects.get(pk=worker.pk).state
            cause = "OPERATOR_DRAINED" if drains else "OPERATOR_UNDRAINED"
            note(worker.pk, state, actor=actor, cause=cause, reason=reason)
            wakeup.send(INSTRUCT_TASK, worker.pk)
            if not drains:
                wakeup.send_once(DISPATCH_TASK)
            name = f"{pipeline_id}/{worker_id}"
            audit.record(act, tenant=tenant, actor=actor, object=name, reason=reason)
        return find(tenant, pipeline_id, worker_id)


def note(pk: int, state: str, *, actor: str, **data: Any) -> None:
    """Write an event and keep its state on the row, which the caller has locked by an update."""
    Worker.objects.filter(pk=pk).update(noted_state=state)
    WorkerEvent.objects.create(worker_id=pk, state=state, actor=actor, data=data)


def note_silent(*, actor: str, limit: int) -> int:
    """Write an event for each worker that has become silent, at most `limit`. Returns how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(statements.NOTE_SILENT, {"limit": limit, "actor": actor})
        return int(cursor.rowcount)


GIVEN_UP_DAYS: Final = 2
"""After this silence a Celery worker counts as stopped. The alert on lost workers looks at up to two days."""


def tidy(*, actor: str) -> int:
    """Give up one batch of silent workers, and remove one batch of former ones. Returns how many there were."""
    parameters: dict[str, Any] = {"limit": settings.SWEEP_LIMIT, "actor": actor}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.GIVE_UP, {**parameters, "days": GIVEN_UP_DAYS})
        stopped = int(cursor.rowcount)
        cursor.execute(statements.REMOVE_FORMER, {**parameters, "days": settings.WORKER_RETENTION_DAYS})
        removed = [worker_id for (worker_id,) in cursor.fetchall()]
        if removed:
            cursor.execute(statements.REMOVE_EVENTS_OF_FORMER, [removed])
    return stopped + len(removed)


SHOWN_DIFFERENCES = 5
"""How many differences an event names. The worker's row has more of them."""


def _code_changes(heartbeat: Heartbeat, before: Worker | None, *, hosts_anew: bool) -> Iterator[dict[str, Any]]:
    """Yield the data of the events about the worker's code and environment.

    Drift is an event when the differences change, and when the worker registers or changes its release (`hosts_anew`).
    """
    fingerprint, environment = _environment(heartbeat)
    code = heartbeat.code or ""
    if before is not None and before.code != code:
        yield {"cause": "CODE_CHANGED", "code": code or None, "previousCode": before.code or None}
    if before is not None and before.environment_fingerprint != fingerprint:
        yield {
            "cause": "ENVIRONMENT_CHANGED",
            "fingerprint": fingerprint or None,
            "previousFingerprint": before.environment_fingerprint or None,
        }
    differences = environment["differences"] if environment else []
    known = before.environment["differences"] if before is not None and before.environment else []
    if environment and environment["differenceCount"] and (hosts_anew or differences != known):
        count = environment["differenceCount"]
        yield {"cause": "ENVIRONMENT_DRIFT", "differences": differences[:SHOWN_DIFFERENCES], "differenceCount": count}


def is_refused(tenant_id: int, pipeline_id: str, code: str) -> bool:
    """Return True if a worker with this origin of its code must accept no commands.

    The workers of a release share a queue, so such a worker is instructed to drain. The view `WorkerEligibility`
    applies the same policy to claims and submissions. A pipeline that does not exist yet has the default policy.
    """
    if code != CodeOrigin.SOURCE:
        return False
    allowing = Pipeline.objects.filter(unverified_workers=UnverifiedWorkers.ALLOW)
    return not allowing.filter(tenant=tenant_id, pipeline_id=pipeline_id).exists()


def _environment(heartbeat: Heartbeat) -> tuple[str, dict[str, Any] | None]:
    """Return the fingerprint and the JSON of the reported environment; an empty one and None without a report."""
    environment = heartbeat.environment
    if environment is None:
        return "", None
    return environment.fingerprint, {
        "python": environment.python,
        "platform": environment.platform,
        "durablePipelines": environment.durable_pipelines,
        "differences": environment.differences,
        "differenceCount": max(environment.difference_count, len(environment.differences)),
    }
