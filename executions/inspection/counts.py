"""Counts the executions of a release, and what a tenant uses of its quotas. Reads a bounded number of rows."""

from dataclasses import dataclass
from typing import Final

from django.db import connection

from executions.inspection import statements
from executions.models import Worker
from executions.models.states import State
from executions.workers.registry import LIVE
from releases.models import Release
from releases.registration import tenant_bytes
from tenancy.models import Tenant

MOST_READ: Final = 10_000
"""How many rows are read of each group of states: the live ones of the release, the failures and the other ended
executions of the tenant, newest first."""
ERRORS_SHOWN: Final = 5
FAILED: Final = (State.FAILED, State.DLQ)


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
        cursor.execute(statements.RELEASE_COUNTS, parameters)
        rows = [(State(status), error, count, read < MOST_READ) for status, error, count, read in cursor.fetchall()]
    totals, complete, errors = dict[State, int](), dict[State, bool](), dict[str, int]()
    for status, error, count, is_complete in rows:
        totals[status] = totals.get(status, 0) + count
        complete[status] = is_complete
        if status in FAILED:
            errors[error or ""] = errors.get(error or "", 0) + count
    frequent = sorted(errors.items(), key=lambda each: (-each[1], each[0]))[:ERRORS_SHOWN]
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
