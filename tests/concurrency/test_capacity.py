"""Many processes claim at once. No worker gets more than its capacity."""

import time
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.db import transaction
from django.utils import timezone

from executions.models import Execution, Worker
from executions.state_machine import moves
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import another_session
from tests.raw_sql import run
from tests.repetition import rounds


def held() -> Counter[str]:
    """Return the number of leases of each owner. No execution ends in these tests, so this is also the maximum."""
    return Counter(
        name or "" for name in Execution.objects.filter(status="RUNNING").values_list("lease_owner", flat=True)
    )


@pytest.mark.parametrize("_", rounds(5))
def test_concurrent_claims_respect_the_capacity(_: int) -> None:
    owner, release = making.ready()
    Worker.objects.update(capacity=3)
    checked = {"capability_checked_at": timezone.now() + timedelta(hours=1), "alive_until": None}
    rest = making.worker(release, "rest-1", capacity=2, protocol="rest", **checked)
    for number in range(20):
        making.execution(owner, f"k{number}")
    results_of(race(*[partial(making.claimed, owner)] * 6))
    assert held() == {"dispatcher": 3, rest.eligibility.lease_owner: 2}


def test_a_claim_repeats_after_a_concurrent_claim_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other claim began too early to see the due execution. It ends during the first pause."""
    owner, release = making.ready()
    due = making.execution(owner)
    with another_session() as other:
        other.execute("SELECT count_running_for_claim(%s, NULL)", [release.pk])
        monkeypatch.setattr(time, "sleep", lambda _: other.rollback())
        assert [claim.execution_id for claim in making.claimed(owner)] == [due.pk]


def test_a_stalled_claim_under_a_quota_blocks_no_other_claim() -> None:
    owner, _ = making.ready()
    for number in range(3):
        making.execution(owner, f"k{number}")

    def claim() -> tuple[list[moves.Claim], bool]:
        run("SET statement_timeout = '5s'")
        return moves.claim(owner="another", limit=100, lease_seconds=30, quota=2)

    with transaction.atomic():
        assert len(making.claimed(owner, limit=1, quota=2)) == 1
        assert results_of(race(claim)) == [([], True)]
    [(claims, _)] = results_of(race(claim))
    assert len(claims) == 1
