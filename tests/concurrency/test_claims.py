"""Concurrent claims and answers."""

from collections.abc import Callable
from functools import partial

import pytest

from executions.awaits import claims, interactions
from executions.lifecycle import cancellation
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


def test_concurrent_take_overs_leave_a_history_without_gaps(ready: Ready) -> None:
    one = interaction_of(suspended(ready))
    calls = [partial(claims.claim, ready[0], one.pk, actor=f"user:{n}", take_over=True) for n in range(6)]
    _, refusals = parted(race(*calls))
    assert refusals == []
    events = list(InteractionEvent.objects.filter(interaction=one).order_by("sequence"))
    assert [(event.sequence, event.kind) for event in events] == [
        (number, "CLAIMED" if number == 1 else "TAKEN_OVER") for number in range(1, 7)
    ]
    one.refresh_from_db()
    assert one.claimed_by == events[-1].actor


def test_of_a_claim_and_an_answer_on_the_page_the_first_wins(ready: Ready) -> None:
    for number in range(10):
        one = interaction_of(suspended(ready, f"k{number}"))
        answer = partial(
            interactions.complete,
            ready[0],
            interaction_id=one.pk,
            response={"n": 1},
            actor="user:bob",
            unless_claimed=True,
        )
        calls: list[Callable[[], object]] = [partial(claims.claim, ready[0], one.pk, actor="user:eva"), answer]
        done, refusals = parted(race(*calls))
        one.refresh_from_db()
        if one.status == "COMPLETED":
            assert (refusals, one.claimed_by) == (["InteractionClosed"], None)
        else:
            assert (refusals, one.claimed_by) == (["InteractionClaimed"], "user:eva")
        assert len(done) == 1
        cancellation.cancel(ready[0], one.execution_id, actor="a", reason="")


def test_a_claim_never_blocks_an_answer_over_rest(ready: Ready) -> None:
    for number in range(10):
        one = interaction_of(suspended(ready, f"k{number}"))
        calls: list[Callable[[], object]] = [
            partial(claims.claim, ready[0], one.pk, actor="user:eva"),
            partial(interactions.complete, ready[0], interaction_id=one.pk, response={"n": 1}, actor="token:erp"),
        ]
        _, refusals = parted(race(*calls))
        assert set(refusals) <= {"InteractionClosed"}
        one.refresh_from_db()
        assert (one.status, one.actor) == ("COMPLETED", "token:erp")
        cancellation.cancel(ready[0], one.execution_id, actor="a", reason="")
