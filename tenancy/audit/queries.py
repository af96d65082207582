"""Selects entries of the audit log."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import QuerySet

from tenancy.models import AuditEntry

LOOKUPS: Final = {
    "act": "act",
    "actor": "actor",
    "object": "object",
    "outcome": "outcome",
    "from": "at__gte",
    "to": "at__lt",
}
"""The filters of the API and the admin, with the lookup of each. `to` excludes its moment."""


def selected(entries: QuerySet[AuditEntry], filters: Mapping[str, Any]) -> QuerySet[AuditEntry]:
    """Return the entries that match all `filters`, by the names in LOOKUPS. Empty values select everything."""
    lookups = {LOOKUPS[name]: value for name, value in filters.items() if value not in (None, "")}
    return entries.filter(**lookups)
