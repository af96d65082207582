"""What workers have in hand: the executions whose leases they hold."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Q, Sum

from executions.models import Execution, WorkerEligibility
from executions.models.states import State

Host = WorkerEligibility
MOST_RELEASES = 50


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of one release that have not stopped. `release_id` is None if no such release is registered.

    `capacity` is how many executions those that admit new ones run at a time, `in_hand` how many all of them run.
    """

    tenant: str
    pipeline_id: str
    release_version: str
    release_id: int | None
    healthy: int
    draining: int
    silent: int
    capacity: int
    in_hand: int


def in_hand(hosts: Iterable[WorkerEligibility]) -> dict[int, int]:
    """Return how many leases each worker holds, by its key. Makes one query, on an index of running executions."""
    owners = {(host.release_id, host.lease_owner): host.pk for host in hosts if host.release_id is not None}
    rows = Execution.objects.filter(release__in={release for release, _ in owners}, status=State.RUNNING).order_by()
    counted = rows.values_list("release_id", "lease_owner").annotate(count=Count("pk"))
    found = {(release, owner): count for release, owner, count in counted}
    return {worker: found.get(owner, 0) for owner, worker in owners.items()}


def fleets(tenants: Collection[int]) -> list[Fleet]:
    """Return the first MOST_RELEASES releases with workers, ordered by tenant, pipeline and version."""
    hosts = WorkerEligibility.objects.filter(worker__tenant__in=tenants, worker__stopped_at=None)
    names = ("worker__tenant__slug", "worker__pipeline_id", "worker__release_version", "release")
    free = F("worker__capacity") - F("worker__abandoned")
    rows = hosts.order_by(*names).values(*names)
    annotated = rows.annotate(
        healthy=Count("pk", filter=Q(state=Host.State.HEALTHY)),
        draining=Count("pk", filter=Q(state=Host.State.DRAINING)),
        silent=Count("pk", filter=Q(state=Host.State.STALE)),
        capacity=Sum(free, filter=Q(admits=True), default=0),
    )
    found: list[dict[str, Any]] = list(annotated[:MOST_RELEASES])
    running = _running({each["release"] for each in found} - {None})
    return [
        Fleet(
            tenant=each["worker__tenant__slug"],
            pipeline_id=each["worker__pipeline_id"],
            release_version=each["worker__release_version"],
            release_id=each["release"],
            healthy=each["healthy"],
            draining=each["draining"],
            silent=each["silent"],
            capacity=each["capacity"],
            in_hand=running.get(each["release"], 0),
        )
        for each in found
    ]


def _running(releases: set[int]) -> dict[int, int]:
    rows = Execution.objects.filter(release__in=releases, status=State.RUNNING).order_by()
    return dict(rows.values_list("release_id").annotate(count=Count("pk")))
