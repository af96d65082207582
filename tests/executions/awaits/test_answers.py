"""Answers: identified by an id or a token, validated, accepted once, and used to resume the execution."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.awaits import awaits, interactions
from executions.errors import (
    AnswerInvalid,
    InteractionUnknown,
    ResumeTokenInvalid,
)
from executions.lifecycle import outcome
from executions.models import Interaction
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.raw_sql import refused, unguarded
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db


def test_an_answer_resumes_the_execution(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    done = answer(interaction_of(made), {"n": 9})
    made.refresh_from_db()

    assert not done.duplicate
    assert (done.interaction.status, done.interaction.response, done.interaction.actor) == (
        "COMPLETED",
        {"n": 9},
        "user:eva",
    )
    assert done.interaction.completed_at is not None
    assert done.interaction.unit.status == "COMPLETED"
    assert (made.status, made.version, made.current_step_index, made.attempt) == ("QUEUED", 3, 1, 0)
    assert (made.progress, made.progress_shape, made.await_unit_id) == ({"n": 9}, "UNI", None)
    assert making.history(made)[-1] == ("AWAIT_COMPLETED", "QUEUED")
    [claim] = making.claimed(ready[0])
    assert (claim.step_index, claim.input, claim.input_shape) == (1, '{"n": 9}', "UNI")


def test_the_first_answer_counts(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    one = interaction_of(made)
    first = answer(one, {"n": 1}, actor="user:eva")
    again = answer(one, {"nonsense": True}, actor="user:max")

    assert (again.duplicate, again.interaction.response, again.interaction.actor) == (True, {"n": 1}, "user:eva")
    assert again.interaction.completed_at == first.interaction.completed_at
    assert [kind for kind, _ in making.history(made)].count("AWAIT_COMPLETED") == 1
    make_late_is_refused = refused("UPDATE executions_interaction SET deadline = now() WHERE id = %s", one.pk)
    assert make_late_is_refused == "interaction_over_is_over"


def test_an_answer_by_correlation_id_or_by_token(ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    one, other = interaction_of(suspended(ready, "k1")), interaction_of(suspended(ready, "k2"))
    done = interactions.complete(owner, correlation_id=one.correlation_id, response={"n": 1}, actor="a")
    assert (done.interaction.pk, done.duplicate) == (one.pk, False)
    token = awaits.resume_token_of(other, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    done = interactions.resume(token, response={"n": 1}, actor="a")
    assert (done.interaction.pk, done.duplicate) == (other.pk, False)
    assert interactions.resume(token, response={"n": 2}, actor="b").duplicate


def test_a_token_of_the_old_worker_secret_is_valid_while_the_secret_is_a_fallback(
    ready: tuple[Tenant, Release], settings: Any
) -> None:
    one = interaction_of(suspended(ready, "k1"))
    token = awaits.resume_token_of(one, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    old, settings.WORKER_SECRET = settings.WORKER_SECRET, "another-worker-secret-0123456789abcdef"
    with pytest.raises(ResumeTokenInvalid):
        interactions.resume(token, response={"n": 1}, actor="a")
    settings.WORKER_SECRET_FALLBACKS = [old]
    assert not interactions.resume(token, response={"n": 1}, actor="a").duplicate


def test_a_token_of_the_old_resume_secret_is_valid_while_the_secret_is_a_fallback(
    ready: tuple[Tenant, Release], settings: Any
) -> None:
    settings.RESUME_TOKEN_SECRET = old = "a-resume-token-secret-0123456789abcdef"
    one = interaction_of(suspended(ready, "k1"))
    token = awaits.resume_token_of(one, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    settings.RESUME_TOKEN_SECRET = "another-resume-token-secret-0123456789"
    with pytest.raises(ResumeTokenInvalid):
        interactions.resume(token, response={"n": 1}, actor="a")
    settings.RESUME_TOKEN_SECRET_FALLBACKS = [old]
    assert not interactions.resume(token, response={"n": 1}, actor="a").duplicate


def test_a_reused_correlation_id_refers_to_the_latest_interaction(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    made = suspended(ready)
    first = interaction_of(made)
    answer(first)
    [claim] = making.claimed(owner)
    again = OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim)])
    assert outcome.record(release.identity, again) == 1
    latest = Interaction.objects.exclude(pk=first.pk).get(execution=made)
    with unguarded(Interaction):
        Interaction.objects.update(correlation_id="order-1")
        Interaction.objects.filter(pk=first.pk).update(created_at=first.created_at - timedelta(seconds=1))
    done = interactions.complete(owner, correlation_id="order-1", response={"n": 3}, actor="a")
    assert (done.interaction.pk, done.duplicate) == (latest.pk, False)


def test_ids_that_do_not_match_each_other_are_rejected(ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    one, other = interaction_of(suspended(ready, "k1")), interaction_of(suspended(ready, "k2"))
    token = awaits.resume_token_of(other, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    with pytest.raises(InteractionUnknown):
        interactions.complete(
            owner, interaction_id=one.pk, correlation_id=other.correlation_id, response={"n": 1}, actor="a"
        )
    with pytest.raises(ResumeTokenInvalid):
        interactions.complete(owner, interaction_id=one.pk, resume_token=token, response={"n": 1}, actor="a")
    with pytest.raises(ResumeTokenInvalid):
        interactions.resume(token[:-2], response={"n": 1}, actor="a")
    with pytest.raises(InteractionUnknown):
        interactions.complete(owner, response={"n": 1}, actor="a")
    with pytest.raises(InteractionUnknown):
        interactions.complete(making.tenant(), interaction_id=one.pk, response={"n": 1}, actor="a")
    assert not Interaction.objects.filter(status="COMPLETED", tenant=owner).exists()


@cases(
    ("members", "response", "field"),
    [
        ({}, {"n": "two"}, "response.n"),
        ({}, {"n": 1, "m": 2}, "response.m"),
        ({}, [], "response"),
        ({"output_type": "boolean"}, "yes", "response"),
        ({"output_type": "decimal"}, 1.5, "response"),
        ({"gives_many": True}, {"n": 1}, "response"),
        ({"gives_many": True}, [{"n": 1}, {"n": None}], "response[1].n"),
        ({"gives_many": True, "itemized": True}, {"n": []}, "response.n"),
    ],
)
def test_an_answer_of_another_type_is_rejected_and_changes_nothing(
    ready: tuple[Tenant, Release], members: dict[str, Any], response: Any, field: str
) -> None:
    made = suspended(ready, **members)
    one = interaction_of(made)
    with pytest.raises(AnswerInvalid) as caught:
        answer(one, response)
    assert [error["field"] for error in caught.value.errors] == [field]
    one.refresh_from_db()
    assert (one.status, one.version, len(making.history(made))) == ("DISPATCHED", 0, 3)


def test_a_pipeline_without_validation_accepts_any_answer(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    assert answer(interaction_of(made), "nonsense").interaction.response == "nonsense"


@cases("response", [None, False, 0, "", [], {}])
def test_any_json_value_is_a_valid_answer_if_the_contract_does_not_define_the_type(
    ready: tuple[Tenant, Release], response: Any
) -> None:
    made = suspended(ready, output_type="org.example.Unknown")
    interactions.complete(ready[0], interaction_id=interaction_of(made).pk, response=response, actor="a")
    made.refresh_from_db()
    assert (made.status, made.progress, made.progress_shape) == ("QUEUED", response, "UNI")


def test_many_answers_become_a_stream(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, gives_many=True)
    answer(interaction_of(made), [{"n": 1}, {"n": 2}])
    made.refresh_from_db()
    assert (made.progress, made.progress_shape) == ([{"n": 1}, {"n": 2}], "MULTI")


def test_all_items_are_awaited_and_their_order_is_kept(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, requests=['{"n": 0}', '{"n": 1}', '{"n": 2}'], itemized=True, gives_many=True)
    items = list(Interaction.objects.filter(execution=made).order_by("item_index"))
    assert [item.request["n"] for item in items] == [0, 1, 2]
    for place in (2, 0):
        answer(items[place], {"n": 10 + place})
        made.refresh_from_db()
        assert (made.status, made.version) == ("WAITING_EXTERNAL", 2)
    answer(items[0], {"n": 99})
    answer(items[1], {"n": 11})
    made.refresh_from_db()
    assert (made.status, made.progress_shape) == ("QUEUED", "MULTI")
    assert made.progress == [{"n": 10}, {"n": 11}, {"n": 12}]


def test_a_single_item_gives_a_stream(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, itemized=True, gives_many=True)
    answer(interaction_of(made), {"n": 5})
    made.refresh_from_db()
    assert (made.progress, made.progress_shape) == ([{"n": 5}], "MULTI")
