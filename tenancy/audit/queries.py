"""Selects entries of the audit log."""

from django.db.models import Q, QuerySet
from django.db.models.functions import Left

from tenancy.models import INDEXED_OBJECT, AuditEntry


def about(entries: QuerySet[AuditEntry], name: str) -> QuerySet[AuditEntry]:
    """Return the entries about an object and what belongs to it: a pipeline with its releases, and these with requests.

    An index on the beginning of the object finds them.
    """
    part = f"{name}/"
    start = Q(start=name[:INDEXED_OBJECT]) | Q(start__startswith=part[:INDEXED_OBJECT])
    found = entries.alias(start=Left("object", INDEXED_OBJECT)).filter(start)
    return found.filter(Q(object=name) | Q(object__startswith=part))
