"""How much of its quotas a tenant uses."""

from django.db import connection

from executions.models import Execution, Worker
from executions.models.states import TERMINAL
from executions.workers.registry import LIVE
from releases.registration import upload_quotas
from tenancy.models import Tenant

MOST_COUNTED = 100_000
_LAST_SECOND = """
SELECT CASE WHEN second = date_trunc('second', clock_timestamp()) THEN granted ELSE 0 END
FROM tenancy_allowance WHERE tenant_id = %s
"""


def use(tenant: Tenant) -> dict[str, int | None]:
    """Return what is used of each quota, by its name. At most MOST_COUNTED open executions are counted.

    `payloadBytes` limits each submission, so its use is null. `submissionsPerSecond` is what web processes may accept
    in the current second, and 0 without that quota.
    """
    open_executions = Execution.objects.filter(release__pipeline__tenant=tenant).exclude(status__in=TERMINAL)
    with connection.cursor() as cursor:
        cursor.execute(_LAST_SECOND, [tenant.pk])
        row = cursor.fetchone()
    return {
        "submissionsPerSecond": row[0] if row else 0,
        "openExecutions": open_executions.order_by()[:MOST_COUNTED].count(),
        "payloadBytes": None,
        "storageBytes": upload_quotas.stored_bytes(tenant),
        "uploadsPerHour": upload_quotas.recent(tenant),
        "workers": Worker.objects.filter(LIVE, tenant=tenant).count(),
    }
