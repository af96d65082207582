"""The hash of entries, and the verification of chains."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from tenancy.models import AuditEntry, AuditHead, Tenant
from wire.documents import json_writer

CHUNK = 1000


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


def moment(at: datetime) -> str:
    """Return the time of an entry as its hash covers it: in UTC with six digits after the second."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def entry_hash(entry: AuditEntry, tenant: str) -> str:
    """Return the hash of an entry: the SHA-256 of the compact JSON array of its columns as texts.

    `tenant` is the slug, "" for the chain of the installation. The trigger of the table computes the same.
    """
    columns = [
        *(tenant, str(entry.sequence), moment(entry.at), entry.actor, entry.act, entry.object_type, entry.object),
        *(entry.outcome, entry.reason, entry.request_id, entry.address, entry.details, entry.previous_hash),
    ]
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
