"""Finds where reality differs from what was registered and activated: with evidence, since when, and what to do.

It reads the active releases and those with open executions, their workers, their stored bytes, and recent submissions.
Changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Max

from executions.inspection import statements
from executions.inspection.callers import DAYS, SCANNED
from executions.inspection.drifts import Drift, Fact, Kind, Subject
from executions.inspection.worker_drift import worker_drift
from executions.workers.hosts import named
from executions.workers.stranded import explained
from executions.workers.worker_gate import START
from releases.models import Artifact, Blob, BlobEvent, Pipeline, Release
from tenancy.models import Tenant

SETTLED_SECONDS: Final = 10
"""Submissions that are under way during an activation are written within this time after it."""


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
    needed = [_Needed(*row) for row in _rows(statements.NEEDED, chosen)]
    releases = Release.objects.select_related("pipeline").in_bulk([each.release for each in needed])
    found = [
        *worker_drift(tenant, pipeline, list(releases)),
        *_unhosted(needed, releases),
        *_unsound(releases),
        *_skewed(chosen),
    ]
    order = list(Kind)
    return sorted(found, key=lambda each: (each.pipeline_id, order.index(each.kind), each.release_version, each.name))


def _unhosted(needed: Sequence[_Needed], releases: dict[int, Release]) -> Iterator[Drift]:
    """Yield the releases that no worker may run."""
    for each in needed:
        if not each.is_unhosted:
            continue
        release = releases[each.release]
        evidence = (
            Fact("Active", "yes" if each.activated_at else "no"),
            Fact("Open executions", str(each.executions)),
            Fact("Workers", explained(each.reasons)),
        )
        times = [at for at in (each.activated_at or each.oldest, each.until) if at is not None]
        yield _of_release(Kind.DEPLOYMENT, release, evidence, max(times, default=None), f"Start a worker: `{START}`.")


def _unsound(releases: dict[int, Release]) -> Iterator[Drift]:
    """Yield the artifacts whose stored bytes are damaged or missing."""
    rows = Artifact.objects.filter(release__in=releases, blob__isnull=False).exclude(blob__state=Blob.State.SOUND)
    artifacts = list(rows.select_related("blob").order_by("release", "position"))
    events = BlobEvent.objects.filter(digest__in={each.digest for each in artifacts})
    since = {(digest, kind): at for digest, kind, at in events.values_list("digest", "kind").annotate(Max("at"))}
    for each in artifacts:
        assert each.blob is not None  # noqa: S101 - the query requires one
        state = each.blob.state
        release = releases[each.release_id]
        yield Drift(
            Kind.ARTIFACT,
            release.pipeline.pipeline_id,
            release.release_version,
            Subject.ARTIFACT,
            each.artifact_id,
            (Fact("The stored bytes", state), Fact("Digest", each.digest)),
            since.get((each.digest, state)),
            "Upload the release again with its files.",
        )


def _skewed(chosen: dict[str, Any]) -> Iterator[Drift]:
    """Yield the pipelines that have recent submissions to another release than the active one."""
    parameters = {**chosen, "days": DAYS, "scanned": SCANNED, "settled": SETTLED_SECONDS}
    for name, active, count, resubmitted, first, last, callers, versions in _rows(statements.SKEWED, parameters):
        evidence = (
            Fact("Executions", str(count)),
            Fact("Of these, resubmissions", str(resubmitted)),
            Fact("Their releases", named(versions)),
            Fact("Callers", named(callers)),
            Fact("The newest", last.isoformat()),
        )
        remedy = "Let the callers submit to the active release, or activate the release that they need."
        yield Drift(Kind.CALLERS, name, active, Subject.PIPELINE, name, evidence, first, remedy)


def _of_release(kind: Kind, release: Release, evidence: tuple[Fact, ...], since: datetime | None, remedy: str) -> Drift:
    version = release.release_version
    return Drift(kind, release.pipeline.pipeline_id, version, Subject.RELEASE, version, evidence, since, remedy)


def _rows(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
