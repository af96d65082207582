"""Work that is due and has nobody to run it: no healthy worker hosts the release that it is pinned to."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection

from executions.models import DUE_VALUES


@dataclass(frozen=True, slots=True)
class Stranded:
    """The due executions of one release. `since` is when its last worker took work, or when the oldest became due."""

    release_id: int
    tenant: str
    pipeline_id: str
    contract_version: str
    release_version: str
    count: int
    since: datetime


# Whether a worker hosts a release, and takes work for it, is told as the claim in `moves` tells it; a test holds the
# two together. A worker that drains may beat for long after it took its last work.
_STRANDED = """
WITH host AS (
    SELECT r.id AS release_id,
        w.draining_since IS NULL AND w.drained_by_operator_at IS NULL AND w.stopped_at IS NULL
            AND (w.protocol = 'rest'
                OR (w.protocol = 'celery' AND w.last_heartbeat_at > now() - make_interval(secs => %(stale)s)))
            AS healthy,
        least(w.last_heartbeat_at, w.draining_since, w.drained_by_operator_at, w.stopped_at) AS until
    FROM executions_worker w
    JOIN releases_pipeline p ON p.tenant_id = w.tenant_id AND p.pipeline_id = w.pipeline_id
    JOIN releases_release r ON r.pipeline_id = p.id AND r.contract_version = w.contract_version
        AND r.release_version = w.release_version AND r.status <> 'REJECTED'
    WHERE w.tenant_id = ANY(%(tenants)s) AND (w.artifact_digest = '' OR coalesce((
        SELECT bool_or(a.blob_id = w.artifact_digest) FROM releases_artifact a WHERE a.release_id = r.id), true))
), hosted AS (
    SELECT release_id, bool_or(healthy) AS healthy, max(until) AS until FROM host GROUP BY release_id
), waiting AS (
    SELECT e.release_id, count(*) AS executions, min(e.next_due_at) AS oldest
    FROM executions_execution e
    WHERE e.tenant_id = ANY(%(tenants)s) AND e.status = ANY(%(due)s) AND e.next_due_at <= now()
        AND NOT EXISTS (SELECT FROM hosted h WHERE h.release_id = e.release_id AND h.healthy)
    GROUP BY e.release_id
)
SELECT r.id, t.slug, p.pipeline_id, r.contract_version, r.release_version, w.executions, greatest(w.oldest, h.until)
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
        "stale": settings.WORKER_STALE_SECONDS,
        "due": DUE_VALUES,
    }
    with connection.cursor() as cursor:
        cursor.execute(_STRANDED, parameters)
        return [Stranded(*row) for row in cursor.fetchall()]
