"""Says which releases of a tenant need transition workers, why, how many, and which may go. Changes nothing."""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Any, Final

from django.db import connection

from executions.inspection import statements
from releases.models import Artifact
from tenancy.models import Tenant
from wire.documents.descriptor import ArtifactKind

COUNTED: Final = 10_000
"""At most this number of executions of a release is counted."""
PATIENCE_SECONDS: Final = 30
"""A release whose oldest due execution is older than this needs more workers."""
MOST_WORKERS: Final = 100
"""The plan suggests at most this number of workers for one release."""


class Reason(StrEnum):
    """Why a release needs workers."""

    ACTIVE = "active"
    GRADUAL = "gradual"
    PINNED = "pinned"
    OPEN = "openExecutions"
    AWAITING = "awaiting"


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a release, and the workers that are there for it.

    `due` and `running` count executions, `age` is that of the oldest due one in seconds. `live` counts the workers that
    may run the release. `capacity` is how many executions all of them run at a time.
    """

    due: int
    running: int
    age: float
    live: int
    capacity: int


@dataclass(frozen=True, slots=True)
class PlannedRelease:
    """A release that needs workers or has some. `workers` is how many it should have: 0 exactly if it `may_go`."""

    pipeline_id: str
    contract_version: str
    release_version: str
    artifact_digest: str
    image: str
    reasons: tuple[Reason, ...]
    load: Load

    @property
    def workers(self) -> int:
        return suggested(self.load) if self.reasons else 0

    @property
    def may_go(self) -> bool:
        return not self.reasons


def suggested(load: Load) -> int:
    """Return how many workers a release with this load needs: at least 1 and at most MOST_WORKERS.

    While work is older than PATIENCE_SECONDS, it grows to what runs all open work at once, and at most doubles what is
    there. It shrinks to what the present work needs once nothing waits for so long.
    """
    each = max(1, load.capacity // load.live) if load.live else 1
    wanted = ceil((load.due + load.running) / each)
    if load.age <= PATIENCE_SECONDS:
        # What is there keeps up, so it suffices.
        wanted = min(wanted, load.live)
    return max(1, min(wanted, max(1, 2 * load.live), MOST_WORKERS))


def worker_plan(tenant: Tenant) -> list[PlannedRelease]:
    """Return the releases that need workers, and those that have workers but need none, ordered by pipeline and age.

    Makes two queries. No release is missing because others have much work.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.WORKER_PLAN, {"tenant": tenant.pk, "counted": COUNTED})
        rows = {release: columns for release, *columns in cursor.fetchall()}
    artifacts = _artifacts(list(rows))
    return [_planned(columns, artifacts.get(release)) for release, columns in rows.items()]


def _planned(columns: list[Any], artifact: Artifact | None) -> PlannedRelease:
    pipeline, contract, version, active, gradual, pinned, opened, awaiting, *load = columns
    holds = zip(Reason, (active, gradual, pinned, opened, awaiting), strict=True)
    is_image = artifact is not None and ArtifactKind(artifact.kind).is_image
    return PlannedRelease(
        pipeline,
        contract,
        version,
        artifact.digest if artifact else "",
        artifact.uri if artifact and is_image else "",
        tuple(reason for reason, is_so in holds if is_so),
        Load(*load),
    )


def _artifacts(releases: list[int]) -> dict[int, Artifact]:
    """Return the artifact of each release that its workers host: the primary one, or else the first."""
    found: dict[int, Artifact] = {}
    for each in Artifact.objects.filter(release__in=releases).select_related("release").order_by("release", "position"):
        if each.release_id not in found or each.artifact_id == each.release.primary_artifact_id:
            found[each.release_id] = each
    return found
