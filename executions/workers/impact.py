"""The effects of activating a release on executions and workers: facts for the person who confirms it."""

from executions.models import TERMINAL_VALUES, Execution, WorkerEligibility
from releases.activation.activation import Fact
from releases.models import Release

Reason = WorkerEligibility.Reason


def facts(release: Release, active: Release | None) -> list[Fact]:
    """Return how many executions stay on their releases, and which workers would run the new ones."""
    found = []
    if active is not None and active.pk != release.pk:
        stay = live_count(active)
        found.append(Fact(f"Executions that stay on {active.release_version}", f"{stay:,} live" if stay else "none"))
    if already := live_count(release):
        found.append(Fact(f"Executions that {release.release_version} runs already", f"{already:,} live"))
    return [*found, *_workers(release)]


def live_count(release: Release) -> int:
    """Return how many executions of a release are not terminal, without smoke tests."""
    return Execution.objects.filter(release=release, smoke=False).exclude(status__in=TERMINAL_VALUES).count()


def _workers(release: Release) -> list[Fact]:
    rows = WorkerEligibility.objects.filter(release=release).select_related("worker")
    hosts = list(rows.defer("worker__environment"))
    healthy = [host.worker for host in hosts if host.admits]
    silent = [host.worker.worker_id for host in hosts if host.state == "STALE"]
    other_artifact = [host.worker.worker_id for host in hosts if host.reason == Reason.OTHER_ARTIFACT]
    blocked = [host.worker.worker_id for host in hosts if host.reason == Reason.ENDPOINT_NOT_ALLOWED]
    unverified = [host.worker.worker_id for host in hosts if host.reason == Reason.UNVERIFIED_CODE]
    stuck = [host.worker.worker_id for host in hosts if host.reason == Reason.NO_FREE_THREAD]
    found = []
    if healthy:
        room = sum(worker.capacity for worker in healthy)
        found.append(Fact("Healthy workers that host it", f"{len(healthy)}, with room for {room:,} at a time"))
    else:
        impact = "New executions will be refused until a worker that hosts this release is started."
        found.append(Fact("No healthy worker hosts it", impact, warning=True))
    if silent:
        found.append(Fact("Silent workers", f"No recent heartbeat: {_named(silent)}", warning=True))
    if other_artifact:
        found.append(Fact("Workers with another artifact", f"They get no work: {_named(other_artifact)}", warning=True))
    if unverified:
        reason = f"They host code from a folder, which the pipeline's policy refuses: {_named(unverified)}"
        found.append(Fact("Workers with unverified code", reason, warning=True))
    if blocked:
        reason = f"REST_WORKER_ORIGINS does not name the origin of their endpoint: {_named(blocked)}"
        found.append(Fact("Workers that may not be called", reason, warning=True))
    if stuck:
        impact = f"All their threads still run executions that were cancelled or taken over: {_named(stuck)}"
        found.append(Fact("Workers without a free thread", impact, warning=True))
    return found


def _named(worker_ids: list[str], shown: int = 5) -> str:
    more = f" and {len(worker_ids) - shown} more" if len(worker_ids) > shown else ""
    return ", ".join(worker_ids[:shown]) + more
