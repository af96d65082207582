"""Concurrent acts are appended one after the other, without gaps."""

from functools import partial

from django.db import transaction

from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from tenancy import audit
from tenancy.audit import chain
from tenancy.models import AuditEntry, AuditHead, Tenant
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import locked, stopped_at_row

CONNECTIONS, EACH = 8, 10


def act(tenant: Tenant | None, number: int) -> None:
    audit.record("thing.change", tenant=tenant, actor=f"user:{number}", object_type="thing", object=number)


def test_eight_connections_append_to_two_chains_without_gaps() -> None:
    chains = [making.tenant(), None]

    def append(number: int) -> None:
        for step in range(EACH):
            with transaction.atomic():
                act(chains[(number + step) % 2], number)
                if step % 5 == 4:
                    transaction.set_rollback(True)

    results_of(race(*[partial(append, number) for number in range(CONNECTIONS)]))
    kept = CONNECTIONS * EACH * 4 // 5
    assert AuditEntry.objects.count() == kept
    for tenant in chains:
        found = list(chain.entries(tenant).order_by("sequence"))
        assert [entry.sequence for entry in found] == list(range(1, len(found) + 1))
        assert [entry.at for entry in found] == sorted(entry.at for entry in found)
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
