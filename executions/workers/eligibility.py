"""Checks that a release has a worker for new executions. The view `WorkerEligibility` decides; this module explains."""

from collections.abc import Sequence

from django.db.models import QuerySet

from executions.errors import WorkerNotChecked, WorkerUnavailable
from executions.models import WorkerEligibility
from executions.workers.registry import REST
from foundation.wakeups import wakeup
from releases.models import Release

State, Reason = WorkerEligibility.State, WorkerEligibility.Reason
CHECK_TASK = "executions.check_capability"
CHECK_FAILED = "REST transition worker capability check failed"
MOST_NAMED = 20
"""How many workers an explanation names at most: those that have not stopped, then the newest."""
NOT_ALLOWED = "the worker's endpoint is not at an origin that REST_WORKER_ORIGINS allows"


def require_healthy(release: Release, called: str = "active release") -> None:
    """Raise `WorkerUnavailable`, with the reason, unless a healthy worker hosts exactly this release.

    The reason calls the release `called`. This makes one query unless it raises. If only REST workers are healthy, the
    last check of one of them must have confirmed that it hosts the release (wire protocol D.8). Raises
    `WorkerNotChecked` if none of them has a valid verdict.
    """
    rows = WorkerEligibility.objects.filter(release=release).select_related("worker").defer("worker__environment")
    admitting = list(rows.filter(WorkerEligibility.ADMITTING).order_by("worker__worker_id"))
    if not admitting:
        raise WorkerUnavailable(_why_none(_named(rows), called))
    if all(host.worker.protocol == REST for host in admitting):
        _require_verdict(admitting)


def _named(rows: QuerySet[WorkerEligibility]) -> list[WorkerEligibility]:
    supported = rows.exclude(reason=Reason.PROTOCOL_NOT_SUPPORTED).order_by("-worker")
    hosts = list(supported.filter(worker__stopped_at=None)[:MOST_NAMED])
    hosts += supported.exclude(worker__stopped_at=None)[: MOST_NAMED - len(hosts)]
    return sorted(hosts, key=lambda host: host.worker.worker_id)


def _require_verdict(hosts: Sequence[WorkerEligibility]) -> None:
    """Return if one of these REST workers has a positive verdict. Otherwise request a check of those without a verdict.

    Raises `WorkerUnavailable` with the error of the last worker that has a negative verdict, or `WorkerNotChecked` if
    no worker has a valid verdict.
    """
    if any(host.verdict for host in hosts):
        return
    if any(host.verdict is None for host in hosts):
        wakeup.send_once(CHECK_TASK)
    errors = [host.worker.capability_error for host in hosts if host.verdict is False]
    if errors:
        raise WorkerUnavailable(errors[-1])
    raise WorkerNotChecked(f"{CHECK_FAILED}: the worker has not been checked recently; a check has been requested")


def _why_none(hosts: Sequence[WorkerEligibility], called: str) -> str:
    """Return the reason in the words of wire protocol D.8."""
    fitting = [host for host in hosts if host.artifact_fits is not False]
    if not hosts:
        return f"No worker lifecycle record for {called}"
    if not fitting:
        return f"Registered worker artifact identity does not match {called}"
    if any(host.state == State.HEALTHY and host.reason == Reason.ENDPOINT_NOT_ALLOWED for host in fitting):
        return f"{CHECK_FAILED}: {NOT_ALLOWED}"
    provider = "/".join(sorted({host.worker.protocol for host in fitting}))
    states = ", ".join(f"{host.worker.worker_id}={_state(host)}" for host in fitting)
    return f"No healthy {provider} worker lifecycle record for {called}; current states: {states}"


def _state(host: WorkerEligibility) -> str:
    """Return the worker's state, or the reason why a worker that is HEALTHY may not run new executions."""
    return host.reason if host.reason in {Reason.NO_FREE_THREAD, Reason.UNVERIFIED_CODE} else host.state
