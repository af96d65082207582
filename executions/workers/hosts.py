"""The workers that name a release: those that may run new executions of it, and why the others may not."""

from dataclasses import dataclass

from executions.models import WorkerEligibility
from releases.models import Release

Reason = WorkerEligibility.Reason
NAMES_SHOWN = 5
IMPACTS = {
    Reason.OTHER_ARTIFACT: ("Workers with another artifact", "They get no work"),
    Reason.UNVERIFIED_CODE: (
        "Workers with unverified code",
        "They host code from a folder, which the pipeline's policy refuses",
    ),
    Reason.ENDPOINT_NOT_ALLOWED: (
        "Workers that may not be called",
        "REST_WORKER_ORIGINS does not name the origin of their endpoint",
    ),
    Reason.NO_FREE_THREAD: (
        "Workers without a free thread",
        "All their threads still run executions that were cancelled or taken over",
    ),
}
"""What the page says about workers that are there and get no work."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The workers that name one release. `capacity` is how many executions the `eligible` ones run at a time.

    `warnings` name what is wrong with the workers. The first one is that there is no eligible worker.
    """

    eligible: list[str]
    capacity: int
    warnings: list[str]

    @property
    def count(self) -> int:
        return len(self.eligible)


def hosts(release: Release) -> Hosts:
    """Return the workers of a release that have not stopped. Makes one query."""
    rows = WorkerEligibility.objects.filter(release=release, worker__stopped_at=None).select_related("worker")
    found = list(rows.defer("worker__environment").order_by("worker__worker_id"))
    healthy = [host.worker for host in found if host.admits]
    return Hosts(
        eligible=[worker.worker_id for worker in healthy],
        capacity=sum(max(worker.capacity - worker.abandoned, 0) for worker in healthy),
        warnings=_warnings(found, has_healthy=bool(healthy)),
    )


def warnings(release: Release) -> list[str]:
    return hosts(release).warnings


def _warnings(found: list[WorkerEligibility], *, has_healthy: bool) -> list[str]:
    texts = []
    if not has_healthy:
        impact = "New executions will be refused until a worker that hosts this release is started."
        texts.append(f"No healthy worker hosts it: {impact}")
    silent = [host.worker.worker_id for host in found if host.state == "STALE"]
    if silent:
        texts.append(f"Silent workers: No recent heartbeat: {named(silent)}")
    for reason, (label, impact) in IMPACTS.items():
        affected = [host.worker.worker_id for host in found if host.reason == reason]
        if affected:
            texts.append(f"{label}: {impact}: {named(affected)}")
    return texts


def named(names: list[str]) -> str:
    """Return the first NAMES_SHOWN names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
