"""Finds the channels that submissions name to hear of the end of their executions."""

import uuid
from collections.abc import Collection

from django.db import connection

from executions.errors import NotifyChannelUnknown
from tenancy.models import Tenant

# Returns the names and the ids of the tenant's enabled channels with these names. They belong to `alerts`, which stands
# above: an execution only keeps the id.
CHANNELS = """
SELECT c.name, c.id FROM alerts_alertchannel c
WHERE c.tenant_id = %(tenant)s AND c.name = ANY(%(names)s) AND c.enabled AND c.removed_at IS NULL
"""


def find(tenant: Tenant, names: Collection[str]) -> dict[str, uuid.UUID]:
    """Return the ids of the tenant's enabled channels by these names. A name without one is missing."""
    with connection.cursor() as cursor:
        cursor.execute(CHANNELS, {"tenant": tenant.pk, "names": [*names]})
        return dict(cursor.fetchall())


def unknown(name: str) -> NotifyChannelUnknown:
    detail = f"notify: there is no enabled channel {name!r}. GET …/alert-channels lists them."
    error = {"field": "notify", "code": "INVALID", "message": "must be the name of an enabled channel"}
    return NotifyChannelUnknown(detail, errors=[error])
