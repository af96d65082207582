"""Registers workers on behalf of others, and takes heartbeats for them: REST workers above all."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from executions.errors import WorkerBeatsItself, WorkerEndpointInvalid, WorkerEndpointRefused
from executions.models import Worker, WorkerEligibility
from executions.transports.rest import blocked_reason, endpoint_errors, may_call
from executions.workers.eligibility import CHECK_TASK
from executions.workers.registry import CELERY, DISPATCH_TASK, REST, alive_until, find, find_or_register, note
from foundation import wakeup
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.identity import ReleaseIdentity


def register(
    tenant: Tenant,
    identity: ReleaseIdentity,
    *,
    worker_id: str,
    protocol: str,
    endpoint: str = "",
    artifact_id: str = "",
    artifact_digest: str = "",
    actor: str,
) -> Worker:
    """Register a worker as healthy now. Registering a known id replaces all of its members and ends a drain.

    The release need not exist. Only `rest` workers are ever called, and only at origins that are allowed. Raises
    `WorkerLimitReached`.
    """
    members: dict[str, Any] = {
        "contract_version": identity.contract_version,
        "release_version": identity.release_version,
        "protocol": protocol,
        "endpoint": endpoint,
        "artifact_id": artifact_id,
        "artifact_digest": artifact_digest,
        "code": "",
        "environment_fingerprint": "",
        "environment": None,
        "capacity": settings.REST_WORKER_CAPACITY,
        "taking": True,
        "holding": 0,
        "running": 0,
        "abandoned": 0,
        "transition_seconds": None,
        "registered_at": Now(),
        "last_heartbeat_at": Now(),
        "last_sent_at": Now(),
        "alive_until": alive_until(protocol),
        "blocked_reason": blocked_reason(endpoint) if protocol == REST else "",
        "capability_checked_at": None,
        "capability_error": "",
        "unanswered_checks": 0,
        "draining_since": None,
        "drained_by_operator_at": None,
        "stopped_at": None,
    }
    with transaction.atomic():
        worker, created = find_or_register(tenant, identity.pipeline_id, worker_id, members)
        if not created:
            Worker.objects.filter(pk=worker.pk).update(**members)
        note(
            worker.pk,
            "HEALTHY",
            actor=actor,
            cause="REGISTERED",
            contractVersion=identity.contract_version,
            releaseVersion=identity.release_version,
        )
        wakeup.send(DISPATCH_TASK)
        if protocol == REST:
            wakeup.send_once(CHECK_TASK)
        audit.record(
            Act.WORKER_REGISTER,
            tenant=tenant,
            actor=actor,
            object=f"{identity.pipeline_id}/{worker_id}",
            protocol=protocol,
            releaseVersion=identity.release_version,
        )
        return find(tenant, identity.pipeline_id, worker_id)


def admit(
    tenant: Tenant, identity: ReleaseIdentity, *, worker_id: str, endpoint: str, actor: str, **members: str
) -> Worker:
    """Register a REST worker that is called at `endpoint`; `members` is as for `register`.

    Raises `WorkerEndpointInvalid` with every rule that the endpoint breaks, `WorkerEndpointRefused` if the installation
    does not allow calls to this origin, `WorkerBeatsItself` if the id belongs to a Celery worker that has not stopped,
    and `WorkerLimitReached`.
    """
    if errors := endpoint_errors(endpoint):
        raise WorkerEndpointInvalid(f"The endpoint {errors[0]['message']}.", errors=errors)
    if not may_call(endpoint):
        raise WorkerEndpointRefused("REST_WORKER_ORIGINS does not name the endpoint's origin.")
    with transaction.atomic():
        # Prevents a heartbeat from adding or restarting a worker with this id before the registration.
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        locked = Worker.objects.select_for_update()
        known = locked.filter(tenant=tenant, pipeline_id=identity.pipeline_id, worker_id=worker_id).first()
        if known is not None and known.protocol == CELERY and known.stopped_at is None:
            raise WorkerBeatsItself(f"Worker {worker_id!r} is on the broker; register another under another id.")
        return register(tenant, identity, worker_id=worker_id, protocol=REST, endpoint=endpoint, actor=actor, **members)


def heartbeat_for(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str) -> Worker:
    """Record a heartbeat for a worker that sends none itself. Raises `WorkerUnknown` and `WorkerBeatsItself`."""
    if find(tenant, pipeline_id, worker_id).protocol == CELERY:
        raise WorkerBeatsItself(f"Worker {worker_id!r} sends its own heartbeats.")
    return heartbeat(tenant, pipeline_id, worker_id, actor=actor)


def heartbeat(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str) -> Worker:
    """Record that a worker is alive. It does not end a drain. Raises `WorkerUnknown`."""
    with transaction.atomic():
        worker = find(tenant, pipeline_id, worker_id)
        Worker.objects.filter(pk=worker.pk).update(
            last_heartbeat_at=Now(), last_sent_at=Now(), alive_until=alive_until(worker.protocol)
        )
        if worker.noted_state == "STALE":
            note(worker.pk, "HEALTHY", actor=actor, cause="HEARD_AGAIN")
            wakeup.send(DISPATCH_TASK)
            wakeup.send_once(CHECK_TASK)
        return find(tenant, pipeline_id, worker_id)


def review_endpoints(*, actor: str) -> int:
    """Block the REST workers that the settings no longer allow to be called, and unblock the others.

    A blocked worker gets no work: due executions wait, and are shown as stranded with this reason. Returns how
    many workers changed. Safe for any number of processes.
    """
    rows = Worker.objects.filter(protocol=REST, stopped_at=None).order_by("pk")
    return sum(review_endpoint(worker, actor=actor) for worker in rows)


def announce_checks() -> None:
    """Wake a control worker to check the REST workers that are due."""
    if Worker.objects.filter(protocol=REST, stopped_at=None).exists():
        wakeup.send_once(CHECK_TASK)


def review_endpoint(worker: Worker, *, actor: str) -> bool:
    """Block or unblock one worker. Return False if nothing changed, or if another process changed the row first."""
    reason = blocked_reason(worker.endpoint)
    if reason == worker.blocked_reason:
        return False
    with transaction.atomic():
        rows = Worker.objects.filter(pk=worker.pk, endpoint=worker.endpoint, blocked_reason=worker.blocked_reason)
        if not rows.update(blocked_reason=reason):
            return False
        cause = "ENDPOINT_BLOCKED" if reason else "ENDPOINT_ALLOWED"
        note(worker.pk, WorkerEligibility.objects.get(pk=worker.pk).state, actor=actor, cause=cause)
        if not reason:
            wakeup.send_once(DISPATCH_TASK)
    return True
