"""Finds where reality differs from what was registered and activated: with evidence, since when, and what to do.

It reads the active releases and those with open executions, their workers, their stored bytes, and recent submissions.
Changes nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from django.db import connection
from django.db.models import Max, Q

from executions.inspection.callers import DAYS, RECENT, SCANNED
from executions.models import CodeOrigin, WorkerEligibility
from executions.workers.eligibility import WITHOUT_WORK, explained, named, start_command
from releases.models import Artifact, Blob, BlobEvent, Pipeline, Release
from releases.states import Status
from tenancy.models import Tenant

MOST_WORKERS: Final = 2_000
DIFFERENCES_SHOWN: Final = 5
_HOSTED = ("REGISTERED", "RELEASE_CHANGED")
SETTLED_SECONDS: Final = 10
"""Submissions that are under way during an activation are written within this time after it."""


# Returns the releases that need workers: the active ones, with the time of their activation, and those with open
# executions. If no worker may run such a release, the row has why not, when its last worker took work, the number of
# its open executions, and when the first of them was submitted.
_NEEDED = f"""
SELECT r.id, a.activated_at, coalesce(host.is_missing, false), coalesce(host.reasons, '{{}}'), host.until,
    open.executions, open.oldest
FROM releases_pipeline p
JOIN releases_release r ON r.pipeline_id = p.id
LEFT JOIN releases_activation a ON a.id = p.activation_id AND a.release_id = r.id
LEFT JOIN LATERAL (
    SELECT true AS is_missing, {WITHOUT_WORK} HAVING NOT EXISTS (SELECT FROM executions_workereligibility h
        WHERE h.release_id = r.id AND h.present AND h.reason IS NULL)
) host ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS executions, min(e.created_at) AS oldest FROM executions_execution e
    WHERE host.is_missing AND e.release_id = r.id AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
) open ON true
WHERE p.tenant_id = %(tenant)s AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    AND (a.release_id IS NOT NULL OR EXISTS (SELECT FROM executions_execution e
        WHERE e.release_id = r.id AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')))
ORDER BY p.pipeline_id, r.id
"""  # noqa: S608  # nosec B608

# Finds the recent executions that were submitted after an activation and are pinned to another release, which is no
# candidate. A submission that was under way during the activation is not one of them: see SETTLED_SECONDS. Returns a
# row for each pipeline that has any: how many, how many of them are resubmissions, the first and the last of them,
# their callers and their releases. No row: every execution is on the release that was active.
_SKEWED = f"""{RECENT}
SELECT p.pipeline_id, active.release_version, count(*),
    count(*) FILTER (WHERE EXISTS (SELECT FROM executions_resubmission s WHERE s.new_execution_id = n.id)),
    min(n.created_at), max(n.created_at), array_agg(DISTINCT n.submitted_by), array_agg(DISTINCT r.release_version)
FROM newest n
JOIN releases_release r ON r.id = n.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
JOIN releases_activation a ON a.id = p.activation_id
JOIN releases_release active ON active.id = a.release_id
WHERE n.release_id <> a.release_id AND n.release_id IS DISTINCT FROM a.candidate_id
    AND n.created_at > a.activated_at + make_interval(secs => %(settled)s)
GROUP BY p.pipeline_id, active.release_version ORDER BY p.pipeline_id
"""  # noqa: S608  # nosec B608

# Returns when each worker last reported something new, by cause.
_REPORTED = """
SELECT v.worker_id, v.data ->> 'cause', max(v.at) FROM executions_workerevent v
WHERE v.worker_id = ANY(%(workers)s)
    AND v.data ->> 'cause' IN ('REGISTERED', 'RELEASE_CHANGED', 'CODE_CHANGED', 'ENVIRONMENT_DRIFT')
GROUP BY 1, 2
"""


class Kind(StrEnum):
    """What differs from what was registered and activated."""

    CONTRACT = "contract"
    """A worker reports another contract than its release has."""
    ARTIFACT = "artifact"
    """A worker hosts other code than its release pins, or the stored bytes are damaged or missing."""
    ENVIRONMENT = "environment"
    """The Python environment of a worker is not the one that the artifact requires."""
    DEPLOYMENT = "deployment"
    """A release that needs workers has none, or a worker hosts a release that is not registered."""
    CALLERS = "callers"
    """Executions are submitted to another release than the active one."""


class Subject(StrEnum):
    """What a drift was found at."""

    WORKER = "worker"
    ARTIFACT = "artifact"
    RELEASE = "release"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Fact:
    """A piece of evidence."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between a release and reality. `since` is None if nothing says when it began.

    `name` is the worker's id, the artifact's id, the version of the release or the id of the pipeline, as `subject`
    says.
    """

    kind: Kind
    pipeline_id: str
    release_version: str
    subject: Subject
    name: str
    evidence: tuple[Fact, ...]
    since: datetime | None
    remedy: str


@dataclass(frozen=True, slots=True)
class _Needed:
    """A release that needs workers. The members after `is_unhosted` are those of a release that no worker may run."""

    release: int
    activated_at: datetime | None
    is_unhosted: bool
    reasons: list[str]
    until: datetime | None
    executions: int
    oldest: datetime | None


def drift(tenant: Tenant, pipeline: Pipeline | None = None) -> list[Drift]:
    """Return the drift of one pipeline, or of all pipelines of the tenant, ordered by pipeline and kind."""
    chosen = {"tenant": tenant.pk, "pipeline": pipeline.pk if pipeline else None}
    needed = [_Needed(*row) for row in _rows(_NEEDED, chosen)]
    releases = Release.objects.select_related("pipeline").in_bulk([need.release for need in needed])
    drifts = [
        *worker_drift(tenant, pipeline, list(releases)),
        *_unhosted(needed, releases),
        *_unsound(releases),
        *_skewed(chosen),
    ]
    order = list(Kind)
    return sorted(
        drifts, key=lambda drift: (drift.pipeline_id, order.index(drift.kind), drift.release_version, drift.name)
    )


def _unhosted(needed: Sequence[_Needed], releases: dict[int, Release]) -> Iterator[Drift]:
    for need in needed:
        if not need.is_unhosted:
            continue
        release = releases[need.release]
        evidence = (
            Fact("Active", "yes" if need.activated_at else "no"),
            Fact("Open executions", str(need.executions)),
            Fact("Workers", explained(need.reasons)),
        )
        times = [at for at in (need.activated_at or need.oldest, need.until) if at is not None]
        yield Drift(
            Kind.DEPLOYMENT,
            release.pipeline.pipeline_id,
            release.release_version,
            Subject.RELEASE,
            release.release_version,
            evidence,
            max(times, default=None),
            f"Start a worker: `{start_command(release.pipeline.pipeline_id, release.release_version)}`.",
        )


def _unsound(releases: dict[int, Release]) -> Iterator[Drift]:
    """Yield the artifacts whose stored bytes are damaged or missing."""
    rows = Artifact.objects.filter(release__in=releases, blob__isnull=False).exclude(blob__state=Blob.State.SOUND)
    artifacts = list(rows.select_related("blob").order_by("release", "position"))
    events = BlobEvent.objects.filter(digest__in={artifact.digest for artifact in artifacts})
    since = {(digest, kind): at for digest, kind, at in events.values_list("digest", "kind").annotate(Max("at"))}
    for artifact in artifacts:
        assert artifact.blob is not None  # noqa: S101 - the query requires one
        state = artifact.blob.state
        release = releases[artifact.release_id]
        yield Drift(
            Kind.ARTIFACT,
            release.pipeline.pipeline_id,
            release.release_version,
            Subject.ARTIFACT,
            artifact.artifact_id,
            (Fact("The stored bytes", state), Fact("Digest", artifact.digest)),
            since.get((artifact.digest, state)),
            "Upload the release again with its files.",
        )


def _skewed(chosen: dict[str, Any]) -> Iterator[Drift]:
    """Yield the pipelines that have recent submissions to another release than the active one."""
    parameters = {**chosen, "days": DAYS, "scanned": SCANNED, "settled": SETTLED_SECONDS}
    for name, active, count, resubmitted, first, last, callers, versions in _rows(_SKEWED, parameters):
        evidence = (
            Fact("Executions", str(count)),
            Fact("Of these, resubmissions", str(resubmitted)),
            Fact("Their releases", named(versions)),
            Fact("Callers", named(callers)),
            Fact("The newest", f"{last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),
        )
        remedy = "Let the callers submit to the active release, or activate the release that they need."
        yield Drift(Kind.CALLERS, name, active, Subject.PIPELINE, name, evidence, first, remedy)


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


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

    Reads at most MOST_WORKERS workers, of one pipeline or of the whole tenant. That none of them has stopped is implied
    by `present`, but not to PostgreSQL, which joins the view to its own table.
    """
    rows = WorkerEligibility.objects.filter(
        Q(release__in=releases) | Q(release=None), worker__tenant=tenant, worker__stopped_at=None, present=True
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
            yield from _of_host(host, host.release, known)


def _differs(host: WorkerEligibility) -> bool:
    worker = host.worker
    is_wrong = host.release_id is None or host.artifact_fits is False or host.verdict is False
    return is_wrong or worker.code == CodeOrigin.SOURCE or bool(worker.difference_count)


def _known(tenant: Tenant, hosts: list[WorkerEligibility]) -> _Known:
    with connection.cursor() as cursor:
        cursor.execute(_REPORTED, {"workers": [host.pk for host in hosts]})
        reported = {(worker, cause): at for worker, cause, at in cursor.fetchall()}
    pinned: dict[int, list[str]] = {}
    others = {host.release_id for host in hosts if host.artifact_fits is False}
    for release, digest in Artifact.objects.filter(release__in=others).values_list("release_id", "digest"):
        pinned.setdefault(release, []).append(digest)
    unknown = [host.worker for host in hosts if host.release_id is None]
    releases = Release.objects.filter(
        pipeline__tenant=tenant,
        pipeline__pipeline_id__in={worker.pipeline_id for worker in unknown},
        release_version__in={worker.release_version for worker in unknown},
    )
    registered = releases.exclude(status=Status.REJECTED).select_related("pipeline")
    return _Known(
        reported, pinned, {(release.pipeline.pipeline_id, release.release_version): release for release in registered}
    )


def _of_none(host: WorkerEligibility, known: _Known) -> Drift:
    """Return the drift of a worker that names no registered release."""
    worker, since = host.worker, known.since(host, *_HOSTED)
    release = known.releases.get((worker.pipeline_id, worker.release_version))
    if release is None:
        fact = Fact("The worker's release", worker.release_version)
        return _of_worker(Kind.DEPLOYMENT, host, since, "Register the release, or stop the worker.", fact)
    return _of_worker(
        Kind.CONTRACT,
        host,
        since,
        "Start a worker of the registered release, or register what this worker runs as another release.",
        Fact("The worker's contract", worker.contract_version),
        Fact("The release's contract", release.contract_version),
    )


def _of_host(host: WorkerEligibility, release: Release, known: _Known) -> Iterator[Drift]:
    worker = host.worker
    command = start_command(release.pipeline.pipeline_id, release.release_version)
    if host.artifact_fits is False:
        yield _of_worker(
            Kind.ARTIFACT,
            host,
            max(known.since(host, *_HOSTED), release.created_at),
            f"Start the worker with the release's artifact: `{command}`.",
            Fact("The worker's artifact", f"{worker.artifact_id} {worker.artifact_digest}".strip()),
            Fact("The release's artifacts", named(known.pinned.get(release.pk, []))),
        )
    if worker.code == CodeOrigin.SOURCE:
        yield _of_worker(
            Kind.ARTIFACT,
            host,
            known.since(host, *_HOSTED, "CODE_CHANGED"),
            "Start the worker without --from-source.",
            Fact("The worker's code", str(CodeOrigin.SOURCE.label)),
            Fact("Policy unverifiedWorkers", release.pipeline.unverified_workers),
        )
    if worker.environment and worker.difference_count:
        yield _of_worker(
            Kind.ENVIRONMENT,
            host,
            known.since(host, "ENVIRONMENT_DRIFT"),
            "Make the required environment with `pipelines env sync`, and start the worker in it.",
            Fact("Differences", str(worker.difference_count)),
            *(Fact("Difference", text) for text in worker.environment["differences"][:DIFFERENCES_SHOWN]),
        )
    if host.verdict is False:
        fact = Fact("The last check", worker.capability_error)
        yield _of_worker(Kind.DEPLOYMENT, host, None, "Correct what the check says, or stop the worker.", fact)


def _of_worker(kind: Kind, host: WorkerEligibility, since: datetime | None, remedy: str, *evidence: Fact) -> Drift:
    pin, name = host.worker, host.worker.worker_id
    return Drift(kind, pin.pipeline_id, pin.release_version, Subject.WORKER, name, evidence, since, remedy)
