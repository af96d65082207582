"""Workers beside the releases that they say they host: reads for people, in a fixed number of queries."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone

from executions.models import Worker
from executions.worker_registry import state_of
from releases.models import Artifact, Release
from releases.states import Status


@dataclass(frozen=True)
class Hosting:
    """A worker, its derived state, the release that it names (None: there is none), and whether the artifacts agree.

    `fits` is None where that cannot be told: the worker names no digest, or the release keeps no bytes here.
    """

    worker: Worker
    state: str
    release: Release | None
    fits: bool | None

    @property
    def counts(self) -> bool:
        """Whether work of the release can go to the worker (wire protocol D.8)."""
        return self.state == "HEALTHY" and self.release is not None and self.fits is not False


def hosting(workers: Iterable[Worker]) -> list[Hosting]:
    rows = list(workers)
    now = timezone.now()
    releases = _releases(rows)
    stored = _stored_digests(releases.values())
    made = []
    for worker in rows:
        release = releases.get(_identity(worker))
        digests = stored[release.pk] if release else set()
        fits = worker.artifact_digest in digests if worker.artifact_digest and digests else None
        made.append(Hosting(worker, state_of(worker, now), release, fits))
    return made


def _identity(worker: Worker) -> tuple[int, str, str, str]:
    return worker.tenant_id, worker.pipeline_id, worker.contract_version, worker.release_version


def _releases(workers: list[Worker]) -> dict[tuple[int, str, str, str], Release]:
    rows = (
        Release.objects.filter(
            pipeline__tenant__in={worker.tenant_id for worker in workers},
            pipeline__pipeline_id__in={worker.pipeline_id for worker in workers},
            release_version__in={worker.release_version for worker in workers},
        )
        .exclude(status=Status.REJECTED)
        .select_related("pipeline")
    )
    return {
        (row.pipeline.tenant_id, row.pipeline.pipeline_id, row.contract_version, row.release_version): row
        for row in rows
    }


def _stored_digests(releases: Iterable[Release]) -> defaultdict[int, set[str]]:
    rows = Artifact.objects.filter(release__in=[release.pk for release in releases]).exclude(blob=None)
    digests: defaultdict[int, set[str]] = defaultdict(set)
    for release_id, digest in rows.values_list("release_id", "digest"):
        digests[release_id].add(digest)
    return digests
