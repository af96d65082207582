"""Concurrent acts are appended one after the other, without gaps."""

from functools import partial

import pytest
from django.db import transaction

from tenancy import audit
from tenancy.audit import chain
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.concurrency.racing import race, results_of

pytestmark = pytest.mark.usefixtures("committed")
CONNECTIONS, EACH = 8, 25


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


def test_the_first_entries_of_a_chain_race() -> None:
    for _ in range(10):
        tenant = making.tenant()
        results_of(race(*[partial(act, tenant, number) for number in range(CONNECTIONS)]))
        assert chain.verify(tenant) == chain.Verified(CONNECTIONS, chain.entries(tenant)[0].hash)
