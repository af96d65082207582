"""How much of its quotas a tenant uses."""

from django.db import connection

from executions.models import Worker
from executions.workers.registry import LIVE
from releases.registration import upload_quotas
from tenancy.models import Tenant

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
        "storageBytes": upload_quotas.stored_bytes(tenant),
        "uploadsPerHour": upload_quotas.recent(tenant),
        "workers": Worker.objects.filter(LIVE, tenant=tenant).count(),
    }
