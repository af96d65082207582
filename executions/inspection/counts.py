"""Counts the executions of a release, what a tenant uses of its quotas, and the workers that its releases need.

Changes nothing, and reads a bounded number of rows.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import Any, Final

from django.db import connection

from executions.models import Worker
from executions.models.states import State
from executions.workers.registry import LIVE
from releases.models import Artifact, Release
from releases.registration import tenant_bytes
from tenancy.models import Tenant
from wire.documents.descriptor import ArtifactKind

MOST_READ: Final = 10_000
"""How many rows are read of each group of states: the live ones and the failures of the release, and the other ended
executions of the tenant, newest first."""
ERRORS_SHOWN: Final = 5
FAILED: Final = (State.FAILED, State.DLQ)


# Counts the executions of a release by state and error, with how many rows were read to find those of the state. Reads
# at most %(most)s rows of each of three indexes: the live executions and the failures of the release, and the newest
# other ended executions of the tenant.
_RELEASE_COUNTS = """
WITH live AS (
    SELECT status FROM executions_execution
    WHERE release_id = %(release)s AND status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(most)s
), failed AS (
    (SELECT status, error_code FROM executions_execution
        WHERE release_id = %(release)s AND status = 'DLQ' LIMIT %(most)s)
    UNION ALL (SELECT status, error_code FROM executions_execution
        WHERE release_id = %(release)s AND status = 'FAILED' LIMIT %(most)s)
), over AS (
    SELECT release_id, status FROM executions_execution
    WHERE tenant_id = %(tenant)s AND status IN ('SUCCEEDED', 'CANCELLED') ORDER BY finished_at DESC LIMIT %(most)s
)
SELECT status, NULL, count(*), (SELECT count(*) FROM live) FROM live GROUP BY status
UNION ALL SELECT status, error_code, count(*), (SELECT count(*) FROM failed)
    FROM failed GROUP BY status, error_code
UNION ALL SELECT status, NULL, count(*), (SELECT count(*) FROM over)
    FROM over WHERE release_id = %(release)s GROUP BY status
"""


@dataclass(frozen=True, slots=True)
class Count:
    """How many executions are in a state. If not all rows were read, there may be more."""

    status: State
    count: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class ReleaseCounts:
    """The counts in the order of the states, without those that are 0, and the most frequent errors of failures."""

    counts: list[Count]
    errors: list[tuple[str, int]]
    errors_complete: bool


def counts_of(release: Release) -> ReleaseCounts:
    parameters = {"tenant": release.pipeline.tenant_id, "release": release.pk, "most": MOST_READ}
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE_COUNTS, parameters)
        rows = [(State(status), error, count, read < MOST_READ) for status, error, count, read in cursor.fetchall()]
    totals, complete, errors = dict[State, int](), dict[State, bool](), dict[str, int]()
    for status, error, count, is_complete in rows:
        totals[status] = totals.get(status, 0) + count
        complete[status] = is_complete
        if status in FAILED:
            errors[error or ""] = errors.get(error or "", 0) + count
    frequent = sorted(errors.items(), key=lambda pair: (-pair[1], pair[0]))[:ERRORS_SHOWN]
    return ReleaseCounts(
        [Count(status, totals[status], complete[status]) for status in State if status in totals],
        frequent,
        all(complete.get(status, True) for status in FAILED),
    )


MOST_COUNTED = 100_000
_SUBMITTED_AND_OPEN = """
SELECT coalesce((SELECT granted FROM tenancy_allowance
        WHERE tenant_id = %(tenant)s AND second = date_trunc('second', clock_timestamp())), 0),
    (SELECT count(*) FROM (
        SELECT FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
        JOIN executions_execution e ON e.release_id = r.id
        WHERE p.tenant_id = %(tenant)s AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
        LIMIT %(most)s) AS open)
"""


def use(tenant: Tenant) -> dict[str, int | None]:
    """Return what is used of each quota, by its name. At most MOST_COUNTED open executions are counted.

    `payloadBytes` limits each submission, so its use is null. `submissionsPerSecond` is what web processes may accept
    in the current second, and 0 without that quota.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SUBMITTED_AND_OPEN, {"tenant": tenant.pk, "most": MOST_COUNTED})
        submitted, open_executions = cursor.fetchone()
    return {
        "submissionsPerSecond": submitted,
        "openExecutions": open_executions,
        "payloadBytes": None,
        "storageBytes": tenant_bytes.stored_bytes(tenant),
        "uploadsPerHour": tenant_bytes.recent_uploads(tenant),
        "workers": Worker.objects.filter(LIVE, tenant=tenant).count(),
    }


COUNTED: Final = 10_000
"""At most this number of executions of a release is counted."""
PATIENCE_SECONDS: Final = 30
"""A release whose oldest due execution is older than this needs more workers."""
MOST_WORKERS: Final = 100
"""The plan suggests at most this number of workers for one release."""


# Returns the releases of a tenant that need workers or have live ones: whether it is active, the candidate of a gradual
# activation, open to callers that name it although it was replaced; whether it has work and whether executions of it
# wait for answers; its due and running executions, the age of the oldest due one, and its live workers with their
# capacity. At most %(counted)s executions of a release are read for each of these, by indexes that have only those.
# An execution that is paused, itself or with its release, is open work, but is not due.
_WORKER_PLAN = """
WITH live AS (
    SELECT v.release_id, count(*) AS workers, sum(v.capacity)::bigint AS capacity
    FROM executions_workereligibility v
    WHERE v.tenant_id = %(tenant)s AND v.release_id IS NOT NULL AND v.present AND v.reason IS NULL
    GROUP BY v.release_id
), named AS (
    SELECT r.id, p.pipeline_id, r.contract_version, r.release_version,
        coalesce(a.release_id = r.id, false) AS active, coalesce(a.candidate_id = r.id, false) AS candidate,
        CASE WHEN p.skew_grace_minutes > 0 AND r.id <> a.release_id AND r.id IS DISTINCT FROM a.candidate_id
            THEN coalesce(release_open_until(r.id) > now(), false) ELSE false END AS pinned
    FROM releases_pipeline p
    JOIN releases_release r ON r.pipeline_id = p.id AND r.status IN ('REGISTERED', 'REVOKED', 'RETIRED')
    LEFT JOIN releases_activation a ON a.id = p.activation_id
    WHERE p.tenant_id = %(tenant)s
)
SELECT n.id, n.pipeline_id, n.contract_version, n.release_version, n.active, n.candidate, n.pinned,
    coalesce(open.works, false) OR due.executions > 0 OR running.executions > 0, coalesce(open.waits, false),
    due.executions, running.executions, coalesce(extract(epoch FROM now() - due.oldest), 0)::float,
    coalesce(live.workers, 0), coalesce(live.capacity, 0)
FROM named n
LEFT JOIN live ON live.release_id = n.id
CROSS JOIN LATERAL (
    SELECT bool_or(e.status <> 'WAITING_EXTERNAL') AS works, bool_or(e.status = 'WAITING_EXTERNAL') AS waits
    FROM (SELECT x.status FROM executions_execution x WHERE x.release_id = n.id
        AND x.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(counted)s) e
) open
CROSS JOIN LATERAL (
    SELECT count(*) AS executions, min(e.next_due_at) AS oldest
    FROM (SELECT x.next_due_at FROM executions_execution x WHERE x.release_id = n.id
        AND x.status IN ('QUEUED', 'WAIT_RETRY') AND NOT x.held AND x.next_due_at <= now()
        AND NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = n.id)
        ORDER BY x.next_due_at LIMIT %(counted)s) e
) due
CROSS JOIN LATERAL (
    SELECT count(*) AS executions FROM (SELECT FROM executions_execution x WHERE x.release_id = n.id
        AND x.status = 'RUNNING' LIMIT %(counted)s) e
) running
WHERE n.active OR n.candidate OR n.pinned OR open.works OR open.waits OR live.workers > 0
ORDER BY n.pipeline_id, n.id
"""


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
    """A release that needs workers or has some. `workers` is how many it should have: 0 exactly if it `can_stop`."""

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
    def can_stop(self) -> bool:
        return not self.reasons


def suggested(load: Load) -> int:
    """Return how many workers a release with this load needs: at least 1 and at most MOST_WORKERS.

    While work is older than PATIENCE_SECONDS, it grows to what runs all open work at once, and at most doubles what is
    there. It shrinks to what the present work needs once nothing waits for so long.
    """
    per_worker = max(1, load.capacity // load.live) if load.live else 1
    wanted = ceil((load.due + load.running) / per_worker)
    if load.age <= PATIENCE_SECONDS:
        # What is there keeps up, so it suffices.
        wanted = min(wanted, load.live)
    return max(1, min(wanted, max(1, 2 * load.live), MOST_WORKERS))


def worker_plan(tenant: Tenant) -> list[PlannedRelease]:
    """Return the releases that need workers, and those that have workers but need none, ordered by pipeline and age.

    Makes two queries. No release is missing because others have much work.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WORKER_PLAN, {"tenant": tenant.pk, "counted": COUNTED})
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
    images: dict[int, Artifact] = {}
    for artifact in (
        Artifact.objects.filter(release__in=releases).select_related("release").order_by("release", "position")
    ):
        if artifact.release_id not in images or artifact.artifact_id == artifact.release.primary_artifact_id:
            images[artifact.release_id] = artifact
    return images
