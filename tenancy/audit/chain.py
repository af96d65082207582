"""The hash of entries, and the verification, the search and the exports of chains."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Left

from foundation import exports
from foundation.database.bounded import in_chunks
from tenancy.models import INDEXED_OBJECT, AuditEntry, AuditHead, Tenant
from wire.documents import json_writer

CHUNK = 1000
MOST_EXPORTED: Final = 1_000_000
"""How many entries an export may have. It has all that match, or none."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A sound chain: its number of entries, and the hash of its newest one; "" if it is empty."""

    entries: int
    head: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A chain that was changed. `sequence` is that of the first entry that does not follow from those before it."""

    sequence: int
    problem: str


COVERED: Final[Mapping[str, Callable[[AuditEntry], Any]]] = {
    "sequence": lambda entry: entry.sequence,
    "at": lambda entry: moment(entry.at),
    "actor": lambda entry: entry.actor,
    "act": lambda entry: entry.act,
    "objectType": lambda entry: entry.object_type,
    "object": lambda entry: entry.object,
    "outcome": lambda entry: entry.outcome,
    "reason": lambda entry: entry.reason,
    "requestId": lambda entry: entry.request_id,
    "address": lambda entry: entry.address,
    "details": lambda entry: entry.details,
    "previousHash": lambda entry: entry.previous_hash,
}
"""What the hash of an entry covers after the tenant, by the names that exports show."""


def moment(at: datetime) -> str:
    """Return the time of an entry as its hash covers it: in UTC with six digits after the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def entry_hash(entry: AuditEntry, tenant: str) -> str:
    """Return the hash of an entry: the SHA-256 of the compact JSON array of its columns as texts.

    `tenant` is the slug, "" for the chain of the installation. The trigger of the table computes the same.
    """
    columns = [tenant, *(str(read(entry)) for read in COVERED.values())]
    return hashlib.sha256(json_writer.text(columns).encode()).hexdigest()


def entries(tenant: Tenant | None) -> QuerySet[AuditEntry]:
    """Return the entries of a chain. None names that of the installation."""
    return AuditEntry.objects.filter(tenant=tenant)


def chains() -> Iterator[Tenant | None]:
    """Return the tenant of each chain, that of the installation first."""
    yield None
    yield from Tenant.objects.order_by("slug")


def verify(tenant: Tenant | None) -> Verified | Broken:
    """Read a chain from its first entry in constant memory, and compare it with its hashes and its head.

    The chain is read as it is at one moment. Call this outside of a transaction.
    """
    slug = tenant.slug if tenant else ""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        head = AuditHead.objects.filter(tenant=tenant).first()
        sequence, newest = 0, ""
        for entry in entries(tenant).order_by("sequence").iterator(CHUNK):
            sequence += 1
            problem = _problem(entry, sequence, newest, slug)
            if problem:
                return Broken(sequence, problem)
            newest = entry.hash
    if (head.sequence, head.hash) != (sequence, newest) if head else sequence:
        return Broken(sequence + 1, "the head of the chain names another newest entry")
    return Verified(sequence, newest)


def _problem(entry: AuditEntry, sequence: int, newest: str, slug: str) -> str:
    if entry.sequence != sequence:
        return f"the next entry has the sequence {entry.sequence}"
    if entry.previous_hash != newest:
        return "the entry does not continue the one before it"
    if entry.hash != entry_hash(entry, slug):
        return "the entry has another hash than its columns"
    return ""


def about(entries: QuerySet[AuditEntry], name: str) -> QuerySet[AuditEntry]:
    """Return the entries about an object and what belongs to it: a pipeline with its releases, and these with requests.

    An index on the beginning of the object finds them.
    """
    part = f"{name}/"
    start = Q(start=name[:INDEXED_OBJECT]) | Q(start__startswith=part[:INDEXED_OBJECT])
    matching = entries.alias(start=Left("object", INDEXED_OBJECT)).filter(start)
    return matching.filter(Q(object=name) | Q(object__startswith=part))


def exactly(entries: QuerySet[AuditEntry], *names: str) -> QuerySet[AuditEntry]:
    """Return the entries about these objects alone. The index of `about` finds them."""
    starts = {name[:INDEXED_OBJECT] for name in names}
    return entries.alias(start=Left("object", INDEXED_OBJECT)).filter(start__in=starts, object__in=names)


def lines(entries: QuerySet[AuditEntry], form: str, *, chunk: int = CHUNK) -> Iterator[bytes]:
    """Yield the entries by chain and sequence, one line each (`foundation.exports`). Raises `ExportTooLarge`.

    The chain of the oldest tenant comes first, and that of the installation last. `tenant` is the slug, "" for the
    chain of the installation. In CSV, the details are the text that the hash covers.
    """
    ordered = in_chunks(entries.select_related("tenant").order_by("tenant_id", "sequence"), chunk)
    rows = (_row(entry, form) for entry in exports.at_most(MOST_EXPORTED, ordered))
    return exports.lines(("tenant", *COVERED, "hash"), rows, form)


def _row(entry: AuditEntry, form: str) -> dict[str, Any]:
    covered = {name: read(entry) for name, read in COVERED.items()}
    if form != "csv":
        covered["details"] = json.loads(entry.details)
    return {"tenant": entry.tenant.slug if entry.tenant else "", **covered, "hash": entry.hash}
