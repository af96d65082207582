"""Writes entries of the audit log as CSV and JSON lines, in constant memory."""

import json
from collections.abc import Iterator
from typing import Any, Final

from django.db.models import QuerySet

from foundation import exports
from foundation.database.bounded import in_chunks
from tenancy.audit import chain
from tenancy.models import AuditEntry

MOST: Final = 1_000_000
"""How many entries an export may have. It has all that match, or none."""
COLUMNS: Final = (
    *("tenant", "sequence", "at", "actor", "act", "objectType", "object", "outcome", "reason", "requestId"),
    *("address", "details", "previousHash", "hash"),
)


def document(entry: AuditEntry) -> dict[str, Any]:
    """Return the entry as the API and the exports show it. `tenant` is the slug, "" for the installation's chain."""
    values = (
        entry.tenant.slug if entry.tenant else "",
        entry.sequence,
        chain.moment(entry.at),
        *(entry.actor, entry.act, entry.object_type, entry.object, entry.outcome, entry.reason, entry.request_id),
        *(entry.address, json.loads(entry.details), entry.previous_hash, entry.hash),
    )
    return dict(zip(COLUMNS, values, strict=True))


def lines(entries: QuerySet[AuditEntry], form: str) -> Iterator[bytes]:
    """Yield the entries by chain and sequence, one line each (`foundation.exports`). Raises `ExportTooLarge`.

    In CSV, the details are the JSON text that the hash covers.
    """
    ordered = in_chunks(entries.select_related("tenant").order_by("tenant", "sequence"), chain.CHUNK)
    for_spreadsheets = form == "csv"
    rows = (
        {**document(entry), "details": entry.details} if for_spreadsheets else document(entry)
        for entry in exports.at_most(MOST, ordered)
    )
    return exports.lines(COLUMNS, rows, form)
