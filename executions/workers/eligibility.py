"""Checks that a release has a worker for new executions. The view `WorkerEligibility` decides; this module explains."""

from collections.abc import Sequence

from executions.errors import WorkerUnavailable
from executions.models import WorkerEligibility
from executions.transports.rest.calls import NOT_ALLOWED
from executions.transports.rest.capabilities import CHECK_FAILED, require_capable
from executions.workers.registry import CELERY, REST
from releases.models import Release

State, Reason = WorkerEligibility.State, WorkerEligibility.Reason


def require_healthy(release: Release) -> None:
    """Raise `WorkerUnavailable`, with the reason, unless a healthy worker hosts exactly this release.

    It makes one query for all workers. If only REST workers are healthy, the last check of one of them must have
    confirmed that it hosts the release (wire protocol D.8).
    """
    rows = WorkerEligibility.objects.filter(release=release, worker__protocol__in=(CELERY, REST))
    hosts = list(rows.select_related("worker").order_by("worker__worker_id"))
    admitting = [host.worker for host in hosts if host.admits]
    if not admitting:
        raise WorkerUnavailable(_why_none(hosts))
    if all(worker.protocol == REST for worker in admitting):
        require_capable(admitting)


def _why_none(hosts: Sequence[WorkerEligibility]) -> str:
    """Return the reason in the words of wire protocol D.8."""
    fitting = [host for host in hosts if host.artifact_fits is not False]
    if not hosts:
        return "No worker lifecycle record for active release"
    if not fitting:
        return "Registered worker artifact identity does not match active release"
    if any(host.state == State.HEALTHY and host.reason == Reason.ENDPOINT_NOT_ALLOWED for host in fitting):
        return f"{CHECK_FAILED}: {NOT_ALLOWED}"
    provider = "/".join(sorted({host.worker.protocol for host in fitting}))
    states = ", ".join(f"{host.worker.worker_id}={_state(host)}" for host in fitting)
    return f"No healthy {provider} worker lifecycle record for active release; current states: {states}"


def _state(host: WorkerEligibility) -> str:
    """Return the worker's state; a worker without a free thread is not healthy for a new execution."""
    return host.reason if host.reason == Reason.NO_FREE_THREAD else host.state
