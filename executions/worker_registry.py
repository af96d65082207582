"""Which transition workers there are, what they host, and whether they are alive (wire protocol B.3, D.8)."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from coordinator import bell
from coordinator.tenancy.models import Tenant
from executions import moves
from executions.errors import WorkerUnavailable
from executions.models import Worker
from executions.protocol import Heartbeat
from releases import registry
from releases.identity import ReleaseIdentity
from releases.models import Release

DISPATCH_TASK = "executions.dispatch"


def workers_of(release: Release) -> QuerySet[Worker]:
    """Every worker that has ever said that it hosts `release`."""
    return Worker.objects.filter(
        tenant_id=release.pipeline.tenant_id,
        pipeline_id=release.pipeline.pipeline_id,
        contract_version=release.contract_version,
        release_version=release.release_version,
    )


def state_of(worker: Worker, now: datetime) -> str:
    """HEALTHY, DRAINING, STALE (silent for too long) or UNAVAILABLE (said good-bye)."""
    if worker.stopped_at is not None:
        return "UNAVAILABLE"
    if worker.draining_since is not None:
        return "DRAINING"
    silent = now - worker.last_heartbeat_at > timedelta(seconds=settings.WORKER_STALE_SECONDS)
    return "STALE" if silent else "HEALTHY"


def require_healthy(release: Release) -> None:
    """Raise `WorkerUnavailable`, with the reason, unless a healthy worker hosts exactly this release."""
    workers = list(workers_of(release))
    if not workers:
        raise WorkerUnavailable("No worker lifecycle record for active release")
    fitting = [worker for worker in workers if _hosts_same_artifact(worker, release)]
    if not fitting:
        raise WorkerUnavailable("Registered worker artifact identity does not match active release")
    now = timezone.now()
    states = {worker.worker_id: state_of(worker, now) for worker in fitting}
    if "HEALTHY" not in states.values():
        told = ", ".join(f"{worker}={state}" for worker, state in sorted(states.items()))
        raise WorkerUnavailable(f"No healthy celery worker lifecycle record for active release; current states: {told}")


def _hosts_same_artifact(worker: Worker, release: Release) -> bool:
    """Compared only where both sides tell (wire protocol D.8 #4); the claim's SQL holds to the same rule."""
    stored = {blob.digest for blob in registry.blobs(release)}
    return not worker.artifact_digest or not stored or worker.artifact_digest in stored


def take_heartbeat(tenant: Tenant, identity: ReleaseIdentity, beat: Heartbeat, sent_at: datetime) -> None:
    """Register or refresh a worker, renew the leases that it holds, and ring for work that may have waited for it.

    A heartbeat that was sent before the newest one known changes nothing.
    """
    with transaction.atomic():
        worker, created = Worker.objects.select_for_update().get_or_create(
            tenant=tenant,
            pipeline_id=identity.pipeline_id,
            worker_id=beat.worker_id,
            defaults={**_told(identity, beat, sent_at), "registered_at": Now()},
        )
        if not created:
            if sent_at <= worker.last_sent_at:
                return
            Worker.objects.filter(pk=worker.pk).update(**_told(identity, beat, sent_at))
        moves.renew_leases(
            tenant.pk,
            [(lease.execution_id, lease.lease_token) for lease in beat.running],
            lease_seconds=settings.LEASE_SECONDS,
        )
        if beat.state == "HEALTHY":
            bell.ring(DISPATCH_TASK)


def _told(identity: ReleaseIdentity, beat: Heartbeat, sent_at: datetime) -> dict[str, object]:
    return {
        "contract_version": identity.contract_version,
        "release_version": identity.release_version,
        "artifact_id": beat.artifact_id,
        "artifact_digest": beat.artifact_digest,
        "capacity": beat.capacity,
        "last_heartbeat_at": Now(),
        "last_sent_at": sent_at,
        "draining_since": Now() if beat.state == "DRAINING" else None,
        "stopped_at": Now() if beat.state == "UNAVAILABLE" else None,
    }
