import dataclasses
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions import errors
from executions.awaits import awaits, claims, questions
from executions.lifecycle.interventions import Answer, redrive
from executions.models import Interaction, InteractionEvent
from foundation.errors import CoordinatorError
from releases.models import Release
from tenancy.models import AuditEntry, Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, itemized, suspended
from tests.raw_sql import raised, run, unchanged, unguarded

Ready = tuple[Tenant, Release]


def token_of(question: Interaction, secret: str | None = None, **changes: Any) -> str:
    token = awaits.resume_token_of(question, issued_at=timezone.now())
    return dataclasses.replace(token, **changes).sign(secret or awaits.resume_secrets()[0])


def refusal(call: Callable[..., object], *arguments: Any, **members: Any) -> str:
    caught = raised(CoordinatorError, call, *arguments, response={"n": 1}, actor="user:eva", **members)
    return caught.code


def test_the_first_answer_counts_and_resumes_the_execution(ready: Ready) -> None:
    made = suspended(ready)
    first = answer(interaction_of(made), {"n": 9})
    question = first.question
    assert (first.duplicate, question.status) == (False, "COMPLETED")
    assert (question.response, question.actor) == ({"n": 9}, "user:eva")
    assert question.completed_at is not None
    assert question.unit.status == "COMPLETED"
    again = answer(question, {"nonsense": True}, actor="user:max")
    assert (again.duplicate, again.question.response, again.question.actor) == (True, {"n": 9}, "user:eva")
    assert again.question.completed_at == question.completed_at
    assert (making.reread(made).status, made.version, made.current_step_index, made.attempt) == ("QUEUED", 3, 1, 0)
    assert (made.progress, made.progress_shape, made.await_unit_id) == ({"n": 9}, "UNI", None)
    assert making.history(made)[3:] == [("AWAIT_COMPLETED", "QUEUED")]
    [claim] = making.claimed(ready[0])
    assert (claim.step_index, claim.input, claim.input_shape) == (1, '{"n": 9}', "UNI")


@cases("name", ["WORKER_SECRET", "RESUME_TOKEN_SECRET"])
def test_a_token_of_a_fallback_secret_is_valid(ready: Ready, settings: Any, name: str) -> None:
    settings.RESUME_TOKEN_SECRET = "" if name == "WORKER_SECRET" else "a-resume-token-secret-0123456789abcdef"
    token, old = token_of(interaction_of(suspended(ready, "k1"))), getattr(settings, name)
    setattr(settings, name, "another-secret-0123456789abcdef0123456789")
    raised(errors.ResumeTokenInvalid, questions.resume, token, response={"n": 1}, actor="a")
    setattr(settings, f"{name}_FALLBACKS", [old])
    assert not questions.resume(token, response={"n": 1}, actor="a").duplicate


@cases(
    "changes",
    {"tenant_id": "another"},
    {"interaction_id": "other"},
    {"execution_id": str(uuid.UUID(int=1))},
    {"correlation_id": "other"},
    {"step_id": "other"},
    {"deadline_epoch_ms": 4_000_000_000_000},
    {"secret": "unknown here, long enough"},
)
def test_a_token_with_another_member_or_secret_answers_nothing(ready: Ready, changes: dict[str, Any]) -> None:
    question = interaction_of(suspended(ready))
    token = token_of(question, **changes)
    names = {"question_id": question.pk, "correlation_id": question.correlation_id}
    assert refusal(questions.resume, token) == refusal(questions.answer, ready[0], resume_token=token)
    code = refusal(questions.answer, ready[0], resume_token=token, **names)
    assert code in ("RESUME_TOKEN_INVALID", "INTERACTION_UNKNOWN")
    old = token_of(question, issued_at_epoch_ms=0)
    assert questions.resume(old, response={"n": 1}, actor="a").question.pk == question.pk


def test_the_token_and_the_identifiers_of_an_answer_must_agree(ready: Ready) -> None:
    question, other = interaction_of(suspended(ready, "k1")), interaction_of(suspended(ready, "k2"))
    wrong = {"question_id": question.pk, "resume_token": token_of(other)}
    assert refusal(questions.answer, ready[0], **wrong) == "RESUME_TOKEN_INVALID"
    for more in ({"resume_token": token_of(other)}, {"question_id": other.pk}):
        members = {"correlation_id": question.correlation_id, **more}
        assert refusal(questions.answer, ready[0], **members) == "INTERACTION_UNKNOWN"
    assert refusal(questions.answer, ready[0]) == "INTERACTION_UNKNOWN"
    assert refusal(questions.answer, making.tenant(), question_id=question.pk) == "INTERACTION_UNKNOWN"


@cases(
    ("members", "response", "field"),
    ({}, {"n": "two"}, "response.n"),
    ({}, {"n": 1, "m": 2}, "response.m"),
    ({"gives_many": True}, {"n": 1}, "response"),
    ({"gives_many": True}, [{"n": 1}, {"n": None}], "response[1].n"),
    ({"gives_many": True, "itemized": True}, {"n": []}, "response.n"),
)
def test_an_answer_of_another_type_is_rejected(ready: Ready, members: Any, response: Any, field: str) -> None:
    made = suspended(ready, **members)
    question = interaction_of(made)
    caught = raised(errors.AnswerInvalid, answer, question, response)
    assert [error["field"] for error in caught.errors] == [field]
    assert (making.reread(question).status, question.version, len(making.history(made))) == ("DISPATCHED", 0, 3)


@cases(
    ("members", "response", "progress", "shape"),
    ({"output_type": "org.example.Unknown"}, None, None, "UNI"),
    ({"output_type": "org.example.Unknown"}, {}, {}, "UNI"),
    ({"gives_many": True}, [{"n": 1}, {"n": 2}], [{"n": 1}, {"n": 2}], "MULTI"),
    ({"gives_many": True, "itemized": True}, {"n": 5}, [{"n": 5}], "MULTI"),
)
def test_answers_become_inputs(ready: Ready, members: dict[str, Any], response: Any, progress: Any, shape: str) -> None:
    made = suspended(ready, **members)
    questions.answer(ready[0], question_id=interaction_of(made).pk, response=response, actor="a")
    assert (making.reread(made).status, made.progress, made.progress_shape) == ("QUEUED", progress, shape)


def test_all_items_are_awaited_and_their_order_is_kept(ready: Ready) -> None:
    made, items = itemized(ready, 3)
    assert [item.request["n"] for item in items] == [0, 1, 2]
    for place in (2, 0, 0):
        answer(items[place], {"n": 10 + place})
        assert (making.reread(made).status, made.version) == ("WAITING_EXTERNAL", 2)
    answer(items[1], {"n": 11})
    assert (making.reread(made).status, made.progress_shape) == ("QUEUED", "MULTI")
    assert made.progress == [{"n": 10}, {"n": 11}, {"n": 12}]


def test_a_reused_correlation_id_refers_to_the_latest_interaction(ready: Ready) -> None:
    first = answer(interaction_of(made := suspended(ready))).question
    making.record(making.suspension(making.claimed(ready[0])[0]))
    with unguarded(Interaction):
        Interaction.objects.update(correlation_id="order-1")
        Interaction.objects.filter(pk=first.pk).update(created_at=first.created_at - timedelta(seconds=1))
    done = questions.answer(ready[0], correlation_id="order-1", response={"n": 3}, actor="a")
    assert (done.question, done.duplicate) == (made.interactions.exclude(pk=first.pk).get(), False)


@cases("count", [0, 3])
def test_an_answer_that_the_worker_could_not_read_is_replaced_by_a_redrive(ready: Ready, count: int) -> None:
    """The interaction keeps the answer that it got. Another failure, or a later one, allows no other answer."""
    made, items = itemized(ready, count) if count else (parked := suspended(ready), [interaction_of(parked)])
    other = interaction_of(suspended(ready, "other"))
    for item in items:
        answer(item, {"n": 1})
    [claim] = making.claimed(ready[0])
    by: dict[str, Any] = {"actor": "user:op", "reason": "a typo", "allow_failed": True}
    making.record(making.failure(claim, retryable=False))
    new = Answer(items[-1].pk, {"n": 2})
    with unchanged(), pytest.raises(errors.RedriveRefused, match="has not failed with UNDECODABLE_PAYLOAD"):
        redrive(ready[0], made.pk, **by, answer=new)
    redrive(ready[0], made.pk, **by)
    making.record(making.failure(making.claimed(ready[0])[0], "UNDECODABLE_PAYLOAD", retryable=False))
    raised(errors.AnswerInvalid, redrive, ready[0], made.pk, **by, answer=Answer(new.question_id, {"n": "x"}))
    raised(errors.RedriveRefused, redrive, ready[0], made.pk, **by, answer=Answer(other.pk, {"n": 2}))
    redrive(ready[0], made.pk, **by, answer=new)
    progress = [{"n": 1}, {"n": 1}, {"n": 2}] if count else {"n": 2}
    assert (making.reread(made).status, made.progress) == ("QUEUED", progress)
    assert Interaction.objects.get(pk=new.question_id).response == {"n": 1}
    assert made.events.get(kind="REDRIVEN", data__answerReplaced=str(new.question_id)).status == "QUEUED"


EVA, BOB = "user:eva", "user:bob"


@pytest.fixture
def question(ready: Ready) -> Interaction:
    return interaction_of(suspended(ready))


def member(owner: Tenant, name: str, role: Role = Role.OPERATOR, **more: Any) -> None:
    Membership.objects.create(user=User.objects.create_user(name, **more), tenant=owner, role=role)


def claim(question: Interaction, actor: str = EVA, **more: Any) -> Interaction:
    return claims.claim(question.tenant, question.pk, actor=actor, **more)


def delegate(question: Interaction, to: str = "bob", actor: str = EVA, **more: Any) -> Interaction:
    return claims.delegate(question.tenant, question.pk, actor=actor, to=to, **more)


def complete(question: Interaction, actor: str = BOB, **more: Any) -> questions.Answered:
    return questions.answer(question.tenant, question_id=question.pk, response={"n": 1}, actor=actor, **more)


def kinds(question: Interaction) -> list[tuple[str, str]]:
    events = list(InteractionEvent.objects.filter(interaction=question).order_by("sequence"))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [(event.kind, event.actor) for event in events]


def run_out(question: Interaction, minutes: int = 31) -> None:
    change = "UPDATE executions_interaction SET claimed_until = claimed_until - make_interval(mins => %s) WHERE id = %s"
    with unguarded(Interaction):
        run(change, minutes, question.pk)


def state(question: Interaction) -> tuple[str, str | None, str | None, int]:
    return making.reread(question).status, question.claimed_by, question.delegate, question.claim_changes


def test_a_claim_says_who_works_on_the_answer_and_for_how_long(question: Interaction) -> None:
    claimed = claim(question)
    [event] = InteractionEvent.objects.filter(interaction=question)
    assert event.claimed_until is not None
    assert claims.CLAIM_TIME - (event.claimed_until - event.at) < claims.CLAIM_TIME / 10
    assert (event.kind, event.claimed_until, EVA) == ("CLAIMED", claimed.claimed_until, claimed.claimed_by)
    assert (claimed.updated_at, claimed.version) == (question.updated_at, question.version)
    [entry] = AuditEntry.objects.filter(act="interaction.claim")
    assert (entry.actor, entry.object, entry.tenant) == (EVA, str(question.pk), question.tenant)


def test_another_person_releases_nothing_and_claims_only_to_take_over_or_after_its_time(question: Interaction) -> None:
    claim(question)
    assert raised(errors.QuestionClaimed, claim, question, BOB).data["claimedBy"] == EVA
    assert state(question) == ("DISPATCHED", EVA, None, 1)
    assert claim(question, BOB, take_over=True).claimed_by == BOB
    run_out(question)
    assert claim(question, EVA).claimed_by == EVA
    assert kinds(question) == [("CLAIMED", EVA), ("TAKEN_OVER", BOB), ("CLAIMED", EVA)]
    raised(errors.QuestionUnknown, claims.claim, making.tenant(), question.pk, actor=EVA)
    raised(errors.QuestionNotClaimed, claims.release, question.tenant, question.pk, actor=BOB)
    claims.release(question.tenant, question.pk, actor=EVA)
    assert state(question) == ("DISPATCHED", None, None, 4)
    assert kinds(question)[-1] == ("RELEASED", EVA)
    raised(errors.QuestionNotClaimed, claims.release, question.tenant, question.pk, actor=EVA)


def test_a_question_is_passed_on_to_a_member_who_may_answer(question: Interaction) -> None:
    member(question.tenant, "bob")
    claim(question)
    raised(errors.QuestionClaimed, delegate, question, actor="user:carl")
    delegate(question, note=" please ")
    assert state(question) == ("DISPATCHED", None, BOB, 2)
    event = InteractionEvent.objects.get(interaction=question, kind="DELEGATED")
    assert (event.delegate, event.note, event.actor) == (BOB, "please", EVA)
    claim(question, BOB)
    assert state(question) == ("DISPATCHED", BOB, BOB, 3)
    [entry] = AuditEntry.objects.filter(act="interaction.delegate", outcome="granted")
    assert BOB in entry.details
    delegate(question, actor="user:carl", take_over=True)
    assert state(question)[1] is None


def test_nobody_else_gets_a_question(question: Interaction) -> None:
    member(question.tenant, "viewer", Role.VIEWER)
    member(question.tenant, "left", is_active=False)
    member(making.tenant(), "stranger")
    for name in ("viewer", "left", "stranger", "nobody", ""):
        assert raised(errors.DelegateUnknown, delegate, question, name).errors[0]["field"] == "to"
    assert state(question) == ("DISPATCHED", None, None, 0)


@cases(("actor", "minutes", "unless_claimed"), [(BOB, 0, False), (EVA, 0, True), (BOB, 31, True)])
def test_a_claim_refuses_answers_of_others(
    question: Interaction, actor: str, minutes: int, unless_claimed: bool
) -> None:
    claim(question)
    raised(errors.QuestionClaimed, complete, question, unless_claimed=True)
    assert state(question)[0] == "DISPATCHED"
    run_out(question, minutes)
    done = complete(question, actor, unless_claimed=unless_claimed, note=" fine ")
    assert (done.duplicate, done.question.note, done.question.channel) == (False, "fine", "api")
    assert complete(question, note="late", unless_claimed=True).duplicate
    assert state(question) == ("COMPLETED", EVA, None, 1)
    assert question.note == "fine"


@cases("act", [claim, delegate])
def test_a_closed_question_or_a_timer_cannot_be_claimed(ready: Ready, act: Callable[..., Interaction]) -> None:
    member(ready[0], "bob")
    timer, answered = interaction_of(suspended(ready, "t", transport="timer")), interaction_of(suspended(ready, "a"))
    answer(answered)
    for question in (timer, answered):
        raised(errors.QuestionClosed, act, question)
        assert kinds(question) == []
