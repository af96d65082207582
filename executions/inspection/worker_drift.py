"""Finds workers that differ from the release that they name: in its contract, its artifact or its environment."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import Q, QuerySet

from executions.inspection import statements
from executions.inspection.drifts import Drift, Fact, Kind, Subject
from executions.models import CodeOrigin, Worker, WorkerEligibility
from executions.workers.hosts import named
from executions.workers.worker_gate import START
from releases.models import Artifact, Pipeline, Release
from releases.states import Status
from tenancy.models import Tenant

MOST_WORKERS: Final = 2_000
DIFFERENCES_SHOWN: Final = 5
_HOSTED = ("REGISTERED", "RELEASE_CHANGED")


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known about the workers: when they reported what, what their releases pin, and releases by their names.

    `reported` has the time of the newest event for each worker and cause.
    """

    reported: dict[tuple[int, str], datetime]
    pinned: dict[int, list[str]]
    releases: dict[tuple[str, str], Release]

    def since(self, host: WorkerEligibility, *causes: str) -> datetime:
        """Return when the worker last reported one of `causes`, or when it registered."""
        times = [self.reported[host.pk, cause] for cause in causes if (host.pk, cause) in self.reported]
        return max(times, default=host.worker.registered_at)


def worker_drift(tenant: Tenant, pipeline: Pipeline | None, releases: Collection[int]) -> Iterator[Drift]:
    """Yield the drift of the workers that run and name one of `releases`, or a release that is not registered.

    Reads at most MOST_WORKERS workers, of one pipeline or of the whole tenant.
    """
    rows = WorkerEligibility.objects.filter(
        Q(release__in=releases) | Q(release=None), worker__tenant=tenant, present=True
    )
    if pipeline is not None:
        rows = rows.filter(worker__pipeline_id=pipeline.pipeline_id)
    rows = rows.select_related("worker", "release__pipeline").order_by("worker__pipeline_id", "worker__worker_id")
    hosts = [host for host in rows[:MOST_WORKERS] if _differs(host)]
    if not hosts:
        return
    known = _known(tenant, hosts)
    for host in hosts:
        if host.release is None:
            yield _of_none(host, known)
        else:
            yield from _of_release(host, host.release, known)


def _differs(host: WorkerEligibility) -> bool:
    worker = host.worker
    is_wrong = host.release_id is None or host.artifact_fits is False or host.verdict is False
    return is_wrong or worker.code == CodeOrigin.SOURCE or bool(worker.difference_count)


def differing(rows: QuerySet[Worker]) -> QuerySet[Worker]:
    """Return the workers that differ from the release that they name, or name none that is registered."""
    return rows.filter(eligibility__present=True).filter(
        Q(eligibility__release=None)
        | Q(eligibility__artifact_fits=False)
        | Q(eligibility__verdict=False)
        | Q(code=CodeOrigin.SOURCE)
        | Q(environment__differenceCount__gt=0)
    )


def _known(tenant: Tenant, hosts: list[WorkerEligibility]) -> _Known:
    with connection.cursor() as cursor:
        cursor.execute(statements.REPORTED, {"workers": [host.pk for host in hosts]})
        reported = {(worker, cause): at for worker, cause, at in cursor.fetchall()}
    pinned: dict[int, list[str]] = {}
    others = {host.release_id for host in hosts if host.artifact_fits is False}
    for release, digest in Artifact.objects.filter(release__in=others).values_list("release_id", "digest"):
        pinned.setdefault(release, []).append(digest)
    unknown = [host.worker for host in hosts if host.release_id is None]
    found = Release.objects.filter(
        pipeline__tenant=tenant,
        pipeline__pipeline_id__in={worker.pipeline_id for worker in unknown},
        release_version__in={worker.release_version for worker in unknown},
    )
    registered = found.exclude(status=Status.REJECTED).select_related("pipeline")
    return _Known(reported, pinned, {(each.pipeline.pipeline_id, each.release_version): each for each in registered})


def _of_none(host: WorkerEligibility, known: _Known) -> Drift:
    """Return the drift of a worker that names no registered release."""
    worker, since = host.worker, known.since(host, *_HOSTED)
    release = known.releases.get((worker.pipeline_id, worker.release_version))
    if release is None:
        fact = Fact("The worker's release", worker.release_version)
        return _drift(Kind.DEPLOYMENT, host, since, "Register the release, or stop the worker.", fact)
    return _drift(
        Kind.CONTRACT,
        host,
        since,
        "Start a worker of the registered release, or register what this worker runs as another release.",
        Fact("The worker's contract", worker.contract_version),
        Fact("The release's contract", release.contract_version),
    )


def _of_release(host: WorkerEligibility, release: Release, known: _Known) -> Iterator[Drift]:
    worker = host.worker
    if host.artifact_fits is False:
        yield _drift(
            Kind.ARTIFACT,
            host,
            max(known.since(host, *_HOSTED), release.created_at),
            f"Start the worker with the release's artifact: `{START}`.",
            Fact("The worker's artifact", f"{worker.artifact_id} {worker.artifact_digest}".strip()),
            Fact("The release's artifacts", named(known.pinned.get(release.pk, []))),
        )
    if worker.code == CodeOrigin.SOURCE:
        yield _drift(
            Kind.ARTIFACT,
            host,
            known.since(host, *_HOSTED, "CODE_CHANGED"),
            "Start the worker without --from-source.",
            Fact("The worker's code", str(CodeOrigin.SOURCE.label)),
            Fact("Policy unverifiedWorkers", release.pipeline.unverified_workers),
        )
    if worker.environment and worker.difference_count:
        yield _drift(
            Kind.ENVIRONMENT,
            host,
            known.since(host, "ENVIRONMENT_DRIFT"),
            "Make the required environment with `pipelines env sync`, and start the worker in it.",
            Fact("Differences", str(worker.difference_count)),
            *(Fact("Difference", text) for text in worker.environment["differences"][:DIFFERENCES_SHOWN]),
        )
    if host.verdict is False:
        fact = Fact("The last check", worker.capability_error)
        yield _drift(Kind.DEPLOYMENT, host, None, "Correct what the check says, or stop the worker.", fact)


def _drift(kind: Kind, host: WorkerEligibility, since: datetime | None, remedy: str, *evidence: Fact) -> Drift:
    pin, name = host.worker, host.worker.worker_id
    return Drift(kind, pin.pipeline_id, pin.release_version, Subject.WORKER, name, evidence, since, remedy)
