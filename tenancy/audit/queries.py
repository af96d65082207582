"""Selects entries of the audit log."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.db.models.functions import Left

from tenancy.models import INDEXED_OBJECT, AuditEntry

LOOKUPS: Final = {
    "act": "act",
    "actor": "actor",
    "object": "object",
    "outcome": "outcome",
    "from": "at__gte",
    "to": "at__lt",
}
"""The filters of the API and the admin, with the lookup of each. `to` excludes its moment."""


def about(entries: QuerySet[AuditEntry], name: str) -> QuerySet[AuditEntry]:
    """Return the entries about an object and what belongs to it: a pipeline with its releases, and these with requests.

    An index on the beginning of the object finds them.
    """
    part = f"{name}/"
    start = Q(start=name[:INDEXED_OBJECT]) | Q(start__startswith=part[:INDEXED_OBJECT])
    found = entries.alias(start=Left("object", INDEXED_OBJECT)).filter(start)
    return found.filter(Q(object=name) | Q(object__startswith=part))


def selected(entries: QuerySet[AuditEntry], filters: Mapping[str, Any]) -> QuerySet[AuditEntry]:
    """Return the entries that match all `filters`, by the names in LOOKUPS. Empty values select everything."""
    lookups = {LOOKUPS[name]: value for name, value in filters.items() if value not in (None, "")}
    return entries.filter(**lookups)
