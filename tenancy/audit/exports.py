"""Writes entries of the audit log as NDJSON and CSV, in constant memory."""

import json
from collections.abc import Iterator
from typing import Any, Final

from django.db.models import QuerySet

from foundation import spreadsheet
from tenancy.audit import chain
from tenancy.models import AuditEntry
from wire.documents import json_writer

FORMATS: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
"""The media type of each format."""
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
    """Yield the entries by chain and sequence, one line each. CSV begins with the names of the columns.

    In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    ordered = entries.select_related("tenant").order_by("tenant", "sequence").iterator(chain.CHUNK)
    if form == "csv":
        yield spreadsheet.line(COLUMNS)
        for entry in ordered:
            yield spreadsheet.line({**document(entry), "details": entry.details}.values())
    else:
        for entry in ordered:
            yield f"{json_writer.text(document(entry))}\n".encode()
