"""The fleet of a tenant: its releases with their work, and with the workers, hosts and environments that run them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from executions.inspection.counts import Load, PlannedRelease, worker_plan
from executions.models import Worker, WorkerEligibility
from executions.workers.eligibility import Stranded, explained, start_command, stranded
from tenancy.models import Tenant

MOST_WORKERS: Final = 5_000
"""How many workers are read: those with the newest heartbeats."""
_PROCESS: Final = re.compile(r"-\d+$")
Pin = tuple[str, str]


class Condition(StrEnum):
    """Whether a release has the workers that it needs.

    STALLED_BY_VERSION: work is due and no worker may run it, but workers of other releases of the pipeline run.
    STALLED: the same without such workers. UNKNOWN: workers host it, but it is not registered, so they get no work.
    UNHOSTED: no work waits, and no worker may run it. UNNEEDED: its workers may be stopped.
    """

    STALLED_BY_VERSION = "stalledByVersion"
    STALLED = "stalled"
    UNKNOWN = "unknown"
    UNHOSTED = "unhosted"
    SERVED = "served"
    UNNEEDED = "unneeded"


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment in which workers run. `differences` is the most that one of them reported.

    `durable_pipelines` is the version of that distribution; empty if it is unknown.
    """

    python: str
    platform: str
    durable_pipelines: str
    workers: int
    differences: int


@dataclass(frozen=True, slots=True)
class FleetRelease:
    """A release that needs workers or has some. `stranded` is its due work if no worker may run it, else None.

    `states` counts the workers that have not stopped by state. `hosts` and `environments` are those of the workers that
    are present, or of the silent ones if there are no others. `others` are the versions of the
    pipeline that have eligible workers. `reasons` are why its own workers get no work, each once.
    """

    planned: PlannedRelease
    condition: Condition
    stranded: Stranded | None
    states: dict[str, int]
    hosts: dict[str, int]
    environments: list[Environment]
    others: list[str]
    reasons: list[str]

    @property
    def explanation(self) -> str:
        """Why no worker may run the release; "" if one may."""
        return "" if self.planned.load.live else explained(self.reasons)

    @property
    def command(self) -> str:
        """The command that starts a worker of the release; "" if it needs none."""
        if self.condition in (Condition.SERVED, Condition.UNNEEDED, Condition.UNKNOWN):
            return ""
        return start_command(self.planned.pipeline_id, self.planned.release_version)


def fleet(tenant: Tenant) -> list[FleetRelease]:
    """Return the releases that need workers or have some: stalled ones first. Makes four queries."""
    planned = worker_plan(tenant)
    waiting = {(release.pipeline_id, release.release_version): release for release in stranded([tenant.pk])}
    rows = WorkerEligibility.objects.filter(worker__tenant=tenant, worker__stopped_at=None).select_related("worker")
    by_pin: defaultdict[Pin, list[WorkerEligibility]] = defaultdict(list)
    for host in rows.order_by("-worker__last_heartbeat_at", "pk")[:MOST_WORKERS]:
        by_pin[host.worker.pipeline_id, host.worker.release_version].append(host)
    live: defaultdict[str, list[str]] = defaultdict(list)
    for plan in planned:
        if plan.load.live:
            live[plan.pipeline_id].append(plan.release_version)
    releases = []
    for plan in planned:
        pin = plan.pipeline_id, plan.release_version
        due, others = waiting.get(pin), [version for version in live[pin[0]] if version != pin[1]]
        releases.append(_release(plan, _condition(plan, due, others), by_pin.pop(pin, []), others, due))
    for hosts in by_pin.values():
        if hosts[0].present and hosts[0].release_id is None:
            releases.append(_release(_unknown(hosts[0].worker), Condition.UNKNOWN, hosts, []))
    order = list(Condition)
    return sorted(releases, key=lambda release: order.index(release.condition))


def _unknown(worker: Worker) -> PlannedRelease:
    """Return the release that a worker names and that is not registered: it needs no worker."""
    pin = worker.pipeline_id, worker.contract_version, worker.release_version
    return PlannedRelease(*pin, worker.artifact_digest, "", (), Load(0, 0, 0, 0, 0))


def _release(
    planned: PlannedRelease,
    condition: Condition,
    hosts: Sequence[WorkerEligibility],
    others: list[str],
    due: Stranded | None = None,
) -> FleetRelease:
    seen = [host.worker for host in hosts if host.present] or [host.worker for host in hosts]
    return FleetRelease(
        planned,
        condition,
        due,
        dict(Counter(host.state for host in hosts)),
        dict(sorted(Counter(map(host_of, seen)).items())),
        _environments(seen),
        others,
        sorted({host.reason for host in hosts if host.reason}),
    )


def _condition(planned: PlannedRelease, due: Stranded | None, others: list[str]) -> Condition:
    if due is not None:
        return Condition.STALLED_BY_VERSION if others else Condition.STALLED
    if planned.can_stop:
        return Condition.UNNEEDED
    return Condition.SERVED if planned.load.live else Condition.UNHOSTED


def host_of(worker: Worker) -> str:
    """Return the host of a worker: that of its endpoint, or its id without the number of the process."""
    return urlsplit(worker.endpoint).hostname or _PROCESS.sub("", worker.worker_id)


def _environments(workers: Iterable[Worker]) -> list[Environment]:
    by_fingerprint: defaultdict[str, list[Worker]] = defaultdict(list)
    for worker in workers:
        if worker.environment is not None:
            by_fingerprint[worker.environment_fingerprint].append(worker)
    environments = [
        Environment(
            (same[0].environment or {})["python"],
            (same[0].environment or {})["platform"],
            (same[0].environment or {}).get("durablePipelines", ""),
            len(same),
            max(worker.difference_count for worker in same),
        )
        for same in by_fingerprint.values()
    ]
    return sorted(
        environments, key=lambda environment: (-environment.workers, environment.python, environment.platform)
    )
