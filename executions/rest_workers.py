"""Workers that others register and beat for: those that are called over HTTP (wire protocol B.3)."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from coordinator import bell
from coordinator.tenancy.models import Tenant
from executions.models import Worker
from executions.worker_registry import DISPATCH_TASK, find, note
from releases.identity import ReleaseIdentity


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
    """Make a worker known, healthy as of now. Under a known id it replaces all that was told, and ends a drain.

    The release need not exist. Only `rest` workers are ever called, and only at origins that are allowed.
    """
    told: dict[str, Any] = {
        "contract_version": identity.contract_version,
        "release_version": identity.release_version,
        "protocol": protocol,
        "endpoint": endpoint,
        "artifact_id": artifact_id,
        "artifact_digest": artifact_digest,
        "capacity": settings.REST_WORKER_CAPACITY,
        "registered_at": Now(),
        "last_heartbeat_at": Now(),
        "last_sent_at": Now(),
        "draining_since": None,
        "drained_by_operator_at": None,
        "stopped_at": None,
    }
    with transaction.atomic():
        worker, created = Worker.objects.select_for_update().get_or_create(
            tenant=tenant, pipeline_id=identity.pipeline_id, worker_id=worker_id, defaults=told
        )
        if not created:
            Worker.objects.filter(pk=worker.pk).update(**told)
        note(
            worker.pk,
            "HEALTHY",
            actor=actor,
            cause="REGISTERED",
            contractVersion=identity.contract_version,
            releaseVersion=identity.release_version,
        )
        bell.ring(DISPATCH_TASK)
        return find(tenant, identity.pipeline_id, worker_id)


def heartbeat(tenant: Tenant, pipeline_id: str, worker_id: str, *, actor: str) -> Worker:
    """Note that a worker is alive; a drain stays. Raises `WorkerUnknown`."""
    with transaction.atomic():
        found = find(tenant, pipeline_id, worker_id)
        Worker.objects.filter(pk=found.pk).update(last_heartbeat_at=Now(), last_sent_at=Now())
        if found.noted_state == "STALE":
            note(found.pk, "HEALTHY", actor=actor, cause="HEARD_AGAIN")
            bell.ring(DISPATCH_TASK)
        return find(tenant, pipeline_id, worker_id)
