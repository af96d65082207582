"""Claims: who is working on an answer, and to whom a question was passed on."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from executions.awaits import claims, interactions
from executions.errors import (
    DelegateUnknown,
    InteractionClaimed,
    InteractionClosed,
    InteractionNotClaimed,
    InteractionUnknown,
)
from executions.models import Interaction, InteractionEvent
from releases.models import Release
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db
EVA, BOB = "user:eva", "user:bob"


@pytest.fixture
def one(ready: tuple[Tenant, Release]) -> Interaction:
    return interaction_of(suspended(ready))


def member(owner: Tenant, name: str, role: Role = Role.OPERATOR, **more: Any) -> None:
    Membership.objects.create(user=User.objects.create_user(name, **more), tenant=owner, role=role)


def claim(of: Interaction, actor: str = EVA, **more: Any) -> Interaction:
    return claims.claim(of.tenant, of.pk, actor=actor, **more)


def delegate(of: Interaction, to: str = "bob", actor: str = EVA, **more: Any) -> Interaction:
    return claims.delegate(of.tenant, of.pk, actor=actor, to=to, **more)


def complete(of: Interaction, actor: str = BOB, **more: Any) -> interactions.Completion:
    return interactions.complete(of.tenant, interaction_id=of.pk, response={"n": 1}, actor=actor, **more)


def kinds(of: Interaction) -> list[tuple[str, str]]:
    events = list(InteractionEvent.objects.filter(interaction=of).order_by("sequence"))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [(event.kind, event.actor) for event in events]


def run_out(of: Interaction, minutes: int = 31) -> None:
    """Let `minutes` of the claim pass."""
    change = "UPDATE executions_interaction SET claimed_until = claimed_until - make_interval(mins => %s) WHERE id = %s"
    with unguarded(Interaction):
        run(change, minutes, of.pk)


def state(of: Interaction) -> tuple[str, str | None, str | None, int]:
    of.refresh_from_db()
    return of.status, of.claimed_by, of.delegate, of.claim_changes


def test_a_claim_says_who_works_on_the_answer_and_for_how_long(one: Interaction) -> None:
    claimed = claim(one)
    [event] = InteractionEvent.objects.filter(interaction=one)
    assert claimed.claimed_by == EVA
    assert claimed.claimed_until is not None
    assert claims.CLAIM_TIME - (claimed.claimed_until - event.at) < claims.CLAIM_TIME / 10
    assert (event.kind, event.claimed_until) == ("CLAIMED", claimed.claimed_until)
    assert (claimed.updated_at, claimed.version) == (one.updated_at, one.version)
    [entry] = AuditEntry.objects.filter(act="interaction.claim")
    assert (entry.actor, entry.object, entry.tenant) == (EVA, str(one.pk), one.tenant)


def test_another_person_claims_only_to_take_over_or_when_the_claim_has_run_out(one: Interaction) -> None:
    claim(one)
    with pytest.raises(InteractionClaimed) as caught:
        claim(one, BOB)
    assert caught.value.data["claimedBy"] == EVA
    assert state(one) == ("DISPATCHED", EVA, None, 1)
    assert claim(one, BOB, take_over=True).claimed_by == BOB
    run_out(one)
    assert claim(one, EVA).claimed_by == EVA
    assert kinds(one) == [("CLAIMED", EVA), ("TAKEN_OVER", BOB), ("CLAIMED", EVA)]
    with pytest.raises(InteractionUnknown):
        claims.claim(making.tenant(), one.pk, actor=EVA)


def test_only_the_claimant_releases(one: Interaction) -> None:
    with pytest.raises(InteractionNotClaimed):
        claims.release(one.tenant, one.pk, actor=EVA)
    claim(one)
    with pytest.raises(InteractionNotClaimed):
        claims.release(one.tenant, one.pk, actor=BOB)
    claims.release(one.tenant, one.pk, actor=EVA)
    assert state(one) == ("DISPATCHED", None, None, 2)
    assert kinds(one) == [("CLAIMED", EVA), ("RELEASED", EVA)]


def test_a_question_is_passed_on_to_a_member_who_may_answer(one: Interaction) -> None:
    member(one.tenant, "bob")
    claim(one)
    with pytest.raises(InteractionClaimed):
        delegate(one, actor="user:carl")
    delegate(one, note=" please ")
    assert state(one) == ("DISPATCHED", None, BOB, 2)
    event = InteractionEvent.objects.get(interaction=one, kind="DELEGATED")
    assert (event.delegate, event.note, event.actor) == (BOB, "please", EVA)
    claim(one, BOB)
    assert state(one) == ("DISPATCHED", BOB, BOB, 3)
    [entry] = AuditEntry.objects.filter(act="interaction.delegate", outcome="granted")
    assert BOB in entry.details
    delegate(one, actor="user:carl", take_over=True)
    assert state(one)[1] is None


def test_nobody_else_gets_a_question(one: Interaction) -> None:
    member(one.tenant, "viewer", Role.VIEWER)
    member(one.tenant, "left", is_active=False)
    member(making.tenant(), "stranger")
    for name in ("viewer", "left", "stranger", "nobody", ""):
        with pytest.raises(DelegateUnknown) as caught:
            delegate(one, name)
        assert caught.value.errors[0]["field"] == "to"
    assert state(one) == ("DISPATCHED", None, None, 0)


@cases(("actor", "minutes", "unless_claimed"), [(BOB, 0, False), (EVA, 0, True), (BOB, 31, True)])
def test_a_claim_refuses_answers_of_others_until_it_runs_out_if_the_caller_wants_that(
    one: Interaction, actor: str, minutes: int, unless_claimed: bool
) -> None:
    claim(one)
    with pytest.raises(InteractionClaimed):
        complete(one, unless_claimed=True)
    assert state(one)[0] == "DISPATCHED"
    run_out(one, minutes)
    done = complete(one, actor, unless_claimed=unless_claimed, note=" fine ")
    assert (done.duplicate, done.interaction.note, done.interaction.channel) == (False, "fine", "api")
    assert complete(one, note="late", unless_claimed=True).duplicate
    assert state(one) == ("COMPLETED", EVA, None, 1)
    assert one.note == "fine"


@cases("act", [claim, delegate])
def test_a_closed_question_or_a_timer_cannot_be_claimed(
    ready: tuple[Tenant, Release], act: Callable[..., Interaction]
) -> None:
    member(ready[0], "bob")
    timer, answered = interaction_of(suspended(ready, "t", transport="timer")), interaction_of(suspended(ready, "a"))
    answer(answered)
    for each in (timer, answered):
        with pytest.raises(InteractionClosed):
            act(each)
        assert kinds(each) == []
