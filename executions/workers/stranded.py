"""Finds due work that no worker may run, because none is eligible for the release that it is pinned to."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from executions.models import DUE_VALUES, WorkerEligibility


@dataclass(frozen=True, slots=True)
class Stranded:
    """The due executions of one release. `since` is when its last worker took work, or when the oldest became due.

    `reasons` are why the release's workers get no work, each once; empty if no worker names the release.
    """

    release_id: int
    tenant: str
    pipeline_id: str
    contract_version: str
    release_version: str
    count: int
    since: datetime
    reasons: list[str]

    @property
    def explanation(self) -> str:
        """The reasons in words."""
        return explained(self.reasons)


def explained(reasons: Collection[str]) -> str:
    return "; ".join(WorkerEligibility.Reason(each).label for each in reasons) or "no worker names the release"


def why_stranded(release_id: int) -> str | None:
    """Return why no worker may run the release, in words; None if one may."""
    found = set(WorkerEligibility.objects.filter(release=release_id).values_list("reason", flat=True))
    if None in found:
        return None
    reasons = {reason for reason in found if reason is not None}
    return explained(sorted(reasons - {"STOPPED"} or reasons))


# A draining worker may send heartbeats long after it took its last work. Nothing says when a worker without a free
# thread took its last work, so it does not count. STOPPED is a reason only if there is no other.
_STRANDED = """
WITH host AS (
    SELECT v.release_id, v.reason, CASE WHEN v.artifact_fits IS NOT FALSE AND v.reason IS DISTINCT FROM 'NO_FREE_THREAD'
        THEN least(w.last_heartbeat_at, w.draining_since, w.drained_by_operator_at, w.stopped_at) END AS until
    FROM executions_workereligibility v JOIN executions_worker w ON w.id = v.worker_id
    WHERE v.tenant_id = ANY(%(tenants)s) AND v.release_id IS NOT NULL
), hosted AS (
    SELECT release_id, bool_or(reason IS NULL) AS runs, max(until) AS until,
        coalesce(array_agg(DISTINCT reason) FILTER (WHERE reason <> 'STOPPED'), ARRAY['STOPPED']) AS reasons
    FROM host GROUP BY release_id
), waiting AS (
    SELECT e.release_id, count(*) AS executions, min(e.next_due_at) AS oldest
    FROM executions_execution e
    WHERE e.tenant_id = ANY(%(tenants)s) AND e.status = ANY(%(due)s) AND e.next_due_at <= now()
        AND NOT EXISTS (SELECT FROM hosted h WHERE h.release_id = e.release_id AND h.runs)
    GROUP BY e.release_id
)
SELECT r.id, t.slug, p.pipeline_id, r.contract_version, r.release_version, w.executions, greatest(w.oldest, h.until),
    coalesce(h.reasons, '{}')
FROM waiting w
JOIN releases_release r ON r.id = w.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
JOIN tenancy_tenant t ON t.id = p.tenant_id
LEFT JOIN hosted h ON h.release_id = w.release_id
ORDER BY w.executions DESC, r.id
"""


def stranded(tenant_ids: Collection[int]) -> list[Stranded]:
    """What is stranded in these tenants now, one for each release, the most executions first."""
    parameters: dict[str, Any] = {
        "tenants": list(tenant_ids),
        "due": DUE_VALUES,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STRANDED, parameters)
        return [Stranded(*row) for row in cursor.fetchall()]
