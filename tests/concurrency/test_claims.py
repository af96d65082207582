"""Concurrent claims of a question."""

from functools import partial

import pytest

from executions.awaits import claims
from executions.models import InteractionEvent
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import parted, race
from tests.executions.awaits.parking import interaction_of, suspended

Ready = tuple[Tenant, Release]


@pytest.fixture
def ready(committed: None) -> Ready:
    return making.ready()


def test_of_concurrent_claims_one_wins(ready: Ready) -> None:
    for number in range(5):
        one = interaction_of(suspended(ready, f"k{number}"))
        calls = [partial(claims.claim, ready[0], one.pk, actor=f"user:{person}") for person in range(6)]
        won, refusals = parted(race(*calls))
        assert refusals == ["InteractionClaimed"] * 5
        one.refresh_from_db()
        assert (one.claimed_by, one.claim_changes) == (won[0].claimed_by, 1)
        [event] = InteractionEvent.objects.filter(interaction=one)
        assert event.actor == one.claimed_by
