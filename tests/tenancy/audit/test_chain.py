"""The chain of audit entries: what the database writes, races, and how the command finds changes of it."""

import sys
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from governance.activation.activation import activate
from governance.retirement.retirement import revoke
from releases import policy
from tenancy import audit
from tenancy.audit import chain
from tenancy.audit.acts import Act
from tenancy.models import AuditEntry, AuditHead, Tenant
from tenancy.origin import Origin, serving
from tests import making
from tests.concurrency.sessions import locked, race, results_of, stopped_at_row
from tests.raw_sql import unguarded


@pytest.fixture
def owner() -> Tenant:
    return making.tenant()


def act(tenant: Tenant | None, actor: str = "user:eva", **more: Any) -> None:
    audit.record(Act.QUOTAS_CHANGE, tenant=tenant, actor=actor, object_type="thing", object="one", **more)


def verified(*arguments: str) -> tuple[int, str]:
    """Return the exit status and the output of `verify_audit`."""
    output, status = StringIO(), 0
    try:
        call_command("verify_audit", *arguments, stdout=output)
    except SystemExit as end:
        status = int(end.code or 0)
    return status, output.getvalue()


def test_entries_are_numbered_without_gaps_for_each_tenant(owner: Tenant) -> None:
    other = making.tenant()
    for tenant in (owner, other, owner):
        act(tenant)
    assert [[*chain.entries(tenant).values_list("sequence", flat=True)] for tenant in (owner, other)] == [[2, 1], [1]]
    first, second = chain.entries(owner).order_by("sequence")
    assert (first.previous_hash, second.previous_hash) == ("", first.hash)
    assert AuditHead.objects.get(tenant=owner).hash == second.hash
    assert verified()[0] == 0


def test_an_entry_has_the_origin_of_its_request(owner: Tenant) -> None:
    before = serving.set(Origin("request-1", {"REMOTE_ADDR": "192.0.2.1"}))
    act(owner, reason="because", before=1)
    serving.reset(before)
    act(owner)
    second, first = chain.entries(owner)
    assert (first.request_id, first.address) == ("request-1", "192.0.2.1")
    assert (first.reason, first.details) == ("because", '{"before":1}')
    assert (second.request_id, second.address) == ("", "")


def test_the_database_computes_the_documented_hash_for_every_character(owner: Tenant) -> None:
    points = [*range(0xD800), *range(0xE000, sys.maxunicode, 97)]
    with transaction.atomic():
        for start in range(0, len(points), 1900):
            text = "".join(map(chr, points[start : start + 1900]))
            act(owner, reason=text, detail=text[:100])
        for text in ("a\x00b", "\ud800", "x" * 5_000):
            act(owner, reason=text, detail=text)
    assert isinstance(chain.verify(owner), chain.Verified)


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [
        ("UPDATE tenancy_auditentry SET reason = 'another' WHERE sequence = 2 AND tenant_id = {id}", 2),
        ("DELETE FROM tenancy_auditentry WHERE sequence = 2 AND tenant_id = {id}", 2),
        ("DELETE FROM tenancy_auditentry WHERE sequence = 4 AND tenant_id = {id}", 4),
        ("DELETE FROM tenancy_auditentry WHERE tenant_id = {id}", 1),
        ("UPDATE tenancy_auditentry SET hash = repeat('0', 64) WHERE sequence = 4 AND tenant_id = {id}", 4),
    ],
)
def test_a_change_by_the_owner_of_the_database_is_found(change: str, broken_at: int) -> None:
    """The cases commit, so each makes two tenants."""
    owner, other = making.tenant(), making.tenant()
    act(other)
    for _ in range(4):
        act(owner)
    assert verified(owner.slug)[0] == 0
    with unguarded(AuditEntry), connection.cursor() as cursor:
        cursor.execute(change.format(id=owner.pk))
    status, output = verified(owner.slug)
    assert status == 1
    assert output.startswith(f"{owner.slug}: BROKEN at sequence {broken_at}: ")
    assert verified()[0] == 1
    assert verified(other.slug)[0] == 0


def test_an_earlier_head_shows_that_a_chain_was_replaced(owner: Tenant) -> None:
    act(owner, reason="first")
    status, output = verified(owner.slug)
    assert status == 0
    head = output.rsplit("head ", 1)[1].strip()
    act(owner)
    assert verified(owner.slug, "--expect", head)[0] == 0
    with unguarded(AuditEntry), unguarded(AuditHead), connection.cursor() as cursor:
        cursor.execute("DELETE FROM tenancy_auditentry")
        cursor.execute("DELETE FROM tenancy_audithead")
    act(owner, reason="another")
    assert verified(owner.slug)[0] == 0
    assert verified(owner.slug, "--expect", head)[0] == 1


CONNECTIONS, EACH = 8, 10


def test_eight_connections_append_to_two_chains_without_gaps() -> None:
    chains = [making.tenant(), None]

    def append(number: int) -> None:
        for step in range(EACH):
            with transaction.atomic():
                act(chains[(number + step) % 2], actor=f"user:{number}")
                if step % 5 == 4:
                    transaction.set_rollback(True)

    results_of(race(*[partial(append, number) for number in range(CONNECTIONS)]))
    kept = CONNECTIONS * EACH * 4 // 5
    assert AuditEntry.objects.count() == kept
    for tenant in chains:
        entries = list(chain.entries(tenant).order_by("sequence"))
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
        assert isinstance(chain.verify(tenant), chain.Verified)


def test_the_head_of_a_chain_is_the_last_lock_of_a_use_case() -> None:
    """While another session holds the head, the use case has locked every other row that it locks."""
    release = making.active(making.tenant())
    pipeline, head = release.pipeline, AuditHead.objects.get(tenant=release.pipeline.tenant)
    for use_case in (
        lambda: policy.change(pipeline, {"reasonRequired": True}, actor="user:a"),
        lambda: activate(release, actor="user:a", reason="again"),
        lambda: revoke(release, actor="user:a", reason="leaked"),
    ):
        with stopped_at_row(head, use_case) as stopped:
            assert locked([pipeline], against="NO KEY UPDATE") == [pipeline]
            stopped.finish()
