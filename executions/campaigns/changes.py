"""Changes of the status of a campaign: each is a guarded UPDATE with its event in the same statement."""

import json
import uuid
from collections.abc import Collection
from typing import Any

from django.db import connection

from executions.campaigns import statements
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

COORDINATOR = "coordinator"
"""The actor of what no person did."""


def change(
    tenant: Tenant,
    campaign_id: uuid.UUID,
    sources: Collection[str],
    status: str,
    event: str,
    actor: str,
    data: dict[str, Any],
    changes: str = "",
    **values: Any,
) -> bool:
    """Set the status of a campaign that has one of the statuses `sources`, and record the event.

    `changes` is a constant of `statements` that sets more columns to `values`. Returns False if nothing changed:
    another process or person was first.
    """
    parameters = {
        "campaign": campaign_id,
        "tenant": tenant.pk,
        "sources": list(sources),
        "status": status,
        "event": event,
        "actor": actor,
        "data": json.dumps(data),
        **values,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.CHANGE.format(changes=changes), parameters)
        return bool(cursor.rowcount)


def record(act: Act, tenant: Tenant, campaign_id: uuid.UUID, actor: str, reason: str, **details: Any) -> None:
    """Record an act on a campaign in the audit log. Call this last in the transaction."""
    audit.record(act, tenant=tenant, actor=actor, object_type="campaign", object=campaign_id, reason=reason, **details)
