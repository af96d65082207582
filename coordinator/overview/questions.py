"""The number of open questions, for the overview and the navigation."""

from typing import Final

from django.db.models import QuerySet

from executions.models import Interaction
from tenancy.models import Tenant
from wire.documents.contract import TIMER

MAX_COUNTED: Final = 999
"""The largest number of open questions that is counted."""


def waiting_count(tenants: QuerySet[Tenant] | list[int]) -> int:
    """Return the number of open questions, at most MAX_COUNTED + 1."""
    rows = Interaction.objects.filter(tenant__in=tenants, status__in=Interaction.OPEN).exclude(transport=TIMER)
    return rows.order_by()[: MAX_COUNTED + 1].count()
