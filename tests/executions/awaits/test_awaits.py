"""Awaits on the database: parked, answered, timed out, cancelled; and two that come at once."""

import uuid
from datetime import timedelta
from hashlib import md5
from typing import Any

import pytest
from django.utils import timezone

from executions.awaits import awaits, interactions
from executions.errors import (
    AnswerInvalid,
    AwaitTimedOut,
    InteractionClosed,
    InteractionUnknown,
    ResumeTokenInvalid,
)
from executions.lifecycle import cancellation, dispatch, outcome
from executions.models import AwaitUnit, DeadLetter, Execution, Interaction
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import answer, asked, assert_timed_out, make_late, suspended
from tests.raw_sql import check_foreign_keys_now, refused, run, unguarded
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db

ORDER = {
    "Order": {
        "fingerprint": "f",
        "definition": {
            "id": "Order",
            "kind": "record",
            "fields": [{"name": "n", "type": {"kind": "scalar", "id": "integer"}}],
        },
    }
}


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready(schemaVersion=2, canonicalTypes=ORDER)


# --- parking --------------------------------------------------------------------------------------


def test_an_execution_is_parked_with_what_it_asks(ready: tuple[Tenant, Release]) -> None:
    before = timezone.now()
    made = suspended(ready, request='{"n": 7}', assignee="eva", group="finance", timeout_seconds=90)
    one = asked(made)

    assert (made.status, made.current_step_index, made.version) == ("WAITING_EXTERNAL", 0, 2)
    assert (made.progress, made.progress_shape, made.await_unit_id) == ({"n": 7}, "UNI", one.unit_id)
    assert (one.unit.status, one.unit.expected_items, one.unit.itemized) == ("WAITING_EXTERNAL", 1, False)
    assert (one.status, one.request, one.assignee, one.group, one.item_index) == (
        "DISPATCHED",
        {"n": 7},
        "eva",
        "finance",
        None,
    )
    assert before + timedelta(seconds=80) < one.deadline < timezone.now() + timedelta(seconds=90)
    assert making.history(made)[-1] == ("AWAITING", "WAITING_EXTERNAL")
    assert dispatch.dispatch() == 0


def test_the_correlation_id_is_the_name_uuid_of_the_protocol(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, requests=['{"n": 1}', '{"n": 2}'], itemized=True, gives_many=True)
    for one in Interaction.objects.filter(execution=made):
        name = f"{ready[0].slug}:{made.pk}:Approve:{one.unit_id}:item={one.item_index}"
        assert uuid.UUID(one.correlation_id) == uuid.UUID(bytes=md5(name.encode()).digest(), version=3)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"transport": "carrier-pigeon"}, "carrier-pigeon"),
        ({"requests": ['{"n": 1}', '{"n": 2}']}, "makes 2 requests"),
        ({"transport": "webhook"}, "no http or https URL"),
        ({"transport": "webhook", "transport_metadata": {"url": "ftp://example.org/"}}, "no http or https URL"),
        ({"transport": "webhook", "transport_metadata": {"url": "http://[::1"}}, "no http or https URL"),
        ({"timeout_seconds": float("inf")}, "hundred years"),
        ({"timeout_seconds": 1e12}, "hundred years"),
        ({"output_type": "x" * 501}, "more than 500"),
        ({"assignee": "e\x00va"}, "must be printable"),
        ({"group": "the \u202elast"}, "must be printable"),
        ({"step_id": ".."}, "must be printable"),
        ({"transport_metadata": {"url": "\x00"}}, "contains a NUL character"),
    ],
)
def test_what_nobody_could_answer_fails_at_once(
    ready: tuple[Tenant, Release], members: dict[str, Any], told: str
) -> None:
    made = suspended(ready, **members)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert told in str(made.error_message)
    assert not AwaitUnit.objects.filter(execution=made).exists()
    assert DeadLetter.objects.get(execution=made).reason == "non_retryable"


# --- answering ------------------------------------------------------------------------------------


def test_an_answer_takes_the_execution_on(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    done = answer(asked(made), {"n": 9})
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


def test_the_first_answer_is_kept(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    one = asked(made)
    first = answer(one, {"n": 1}, actor="user:eva")
    again = answer(one, {"nonsense": True}, actor="user:max")

    assert (again.duplicate, again.interaction.response, again.interaction.actor) == (True, {"n": 1}, "user:eva")
    assert again.interaction.completed_at == first.interaction.completed_at
    assert [kind for kind, _ in making.history(made)].count("AWAIT_COMPLETED") == 1
    make_late_is_refused = refused("UPDATE executions_interaction SET deadline = now() WHERE id = %s", one.pk)
    assert make_late_is_refused == "interaction_over_is_over"


def test_an_answer_by_correlation_id_or_by_token(ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    one, other = asked(suspended(ready, "k1")), asked(suspended(ready, "k2"))
    done = interactions.complete(owner, correlation_id=one.correlation_id, response={"n": 1}, actor="a")
    assert (done.interaction.pk, done.duplicate) == (one.pk, False)
    token = awaits.resume_token_of(other, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    done = interactions.resume(token, response={"n": 1}, actor="a")
    assert (done.interaction.pk, done.duplicate) == (other.pk, False)
    assert interactions.resume(token, response={"n": 2}, actor="b").duplicate


def test_a_token_of_the_old_worker_secret_answers_while_that_is_a_fallback(
    ready: tuple[Tenant, Release], settings: Any
) -> None:
    one = asked(suspended(ready, "k1"))
    token = awaits.resume_token_of(one, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    old, settings.WORKER_SECRET = settings.WORKER_SECRET, "another-worker-secret-0123456789abcdef"
    with pytest.raises(ResumeTokenInvalid):
        interactions.resume(token, response={"n": 1}, actor="a")
    settings.WORKER_SECRET_FALLBACKS = [old]
    assert not interactions.resume(token, response={"n": 1}, actor="a").duplicate


def test_a_token_of_the_old_resume_secret_answers_while_that_is_a_fallback(
    ready: tuple[Tenant, Release], settings: Any
) -> None:
    settings.RESUME_TOKEN_SECRET = old = "a-resume-token-secret-0123456789abcdef"
    one = asked(suspended(ready, "k1"))
    token = awaits.resume_token_of(one, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])
    settings.RESUME_TOKEN_SECRET = "another-resume-token-secret-0123456789"
    with pytest.raises(ResumeTokenInvalid):
        interactions.resume(token, response={"n": 1}, actor="a")
    settings.RESUME_TOKEN_SECRET_FALLBACKS = [old]
    assert not interactions.resume(token, response={"n": 1}, actor="a").duplicate


def test_a_correlation_id_that_a_worker_uses_again_names_its_latest_question(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    made = suspended(ready)
    first = asked(made)
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


def test_names_that_do_not_agree_find_nothing(ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    one, other = asked(suspended(ready, "k1")), asked(suspended(ready, "k2"))
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


@pytest.mark.parametrize(
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
def test_an_answer_of_another_type_is_refused_and_changes_nothing(
    ready: tuple[Tenant, Release], members: dict[str, Any], response: Any, field: str
) -> None:
    made = suspended(ready, **members)
    one = asked(made)
    with pytest.raises(AnswerInvalid) as caught:
        answer(one, response)
    assert [error["field"] for error in caught.value.errors] == [field]
    one.refresh_from_db()
    assert (one.status, one.version, len(making.history(made))) == ("DISPATCHED", 0, 3)


def test_a_pipeline_may_take_any_answer(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    Pipeline.objects.filter(tenant=ready[0]).update(validate_answers=False)
    assert answer(asked(made), "nonsense").interaction.response == "nonsense"


@pytest.mark.parametrize("response", [None, False, 0, "", [], {}])
def test_any_json_may_be_an_answer_where_the_contract_does_not_tell(
    ready: tuple[Tenant, Release], response: Any
) -> None:
    made = suspended(ready, output_type="org.example.Unknown")
    interactions.complete(ready[0], interaction_id=asked(made).pk, response=response, actor="a")
    made.refresh_from_db()
    assert (made.status, made.progress, made.progress_shape) == ("QUEUED", response, "UNI")


def test_many_answers_become_a_stream(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, gives_many=True)
    answer(asked(made), [{"n": 1}, {"n": 2}])
    made.refresh_from_db()
    assert (made.progress, made.progress_shape) == ([{"n": 1}, {"n": 2}], "MULTI")


def test_items_are_awaited_one_and_all_and_keep_their_order(ready: tuple[Tenant, Release]) -> None:
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


def test_an_item_is_listed_even_where_it_is_the_only_one(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, itemized=True, gives_many=True)
    answer(asked(made), {"n": 5})
    made.refresh_from_db()
    assert (made.progress, made.progress_shape) == ([{"n": 5}], "MULTI")


# --- deadlines ------------------------------------------------------------------------------------


def test_a_passed_deadline_fails_the_execution(ready: tuple[Tenant, Release]) -> None:
    made, other = suspended(ready, "late"), suspended(ready, "in time")
    make_late(asked(made))
    assert awaits.expire() == 1
    assert_timed_out(made, asked(made))
    other.refresh_from_db()
    assert other.status == "WAITING_EXTERNAL"
    assert awaits.expire() == 0


def test_a_late_answer_fails_the_execution_too(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    one = asked(made)
    make_late(one)
    for _ in range(2):
        with pytest.raises(AwaitTimedOut):
            answer(one)
        assert_timed_out(made, one)


def test_one_late_item_is_enough_and_withdraws_the_others(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, requests=["{}"] * 4, itemized=True, gives_many=True)
    items = list(Interaction.objects.filter(execution=made).order_by("item_index"))
    answer(items[0])
    make_late(items[1])
    awaits.expire()
    assert_timed_out(made, items[1])
    states = list(Interaction.objects.filter(execution=made).order_by("item_index").values_list("status", flat=True))
    assert states == ["COMPLETED", "TIMED_OUT", "CANCELLED", "CANCELLED"]
    with pytest.raises(InteractionClosed) as caught:
        answer(items[2])
    assert caught.value.data == {"interactionStatus": "CANCELLED"}


def test_of_several_late_items_the_error_names_the_first(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, requests=["{}"] * 3, itemized=True, gives_many=True)
    items = list(Interaction.objects.filter(execution=made).order_by("item_index"))
    make_late(*items)
    run("UPDATE executions_interaction SET deadline = deadline - interval '1 second' WHERE id = %s", items[1].pk)
    awaits.expire()
    assert_timed_out(made, items[1])


def test_expiry_is_bounded_and_takes_the_earliest_first(ready: tuple[Tenant, Release]) -> None:
    made = [suspended(ready, f"k{number}") for number in range(3)]
    for number, each in enumerate(made):
        run(
            "UPDATE executions_interaction SET deadline = now() - make_interval(secs => %s) WHERE execution_id = %s",
            10 - number,
            each.pk,
        )
    states = []
    for _ in range(3):
        assert awaits.expire(limit=1) == 1
        states.append([Execution.objects.get(pk=each.pk).status[0] for each in made])
    assert states == [["F", "W", "W"], ["F", "F", "W"], ["F", "F", "F"]]


def test_a_timed_out_await_asks_again_when_it_is_redriven(ready: tuple[Tenant, Release]) -> None:
    from executions.lifecycle.redrive import redrive

    owner, release = ready
    made = suspended(ready, request='{"n": 7}')
    make_late(asked(made))
    awaits.expire()
    redrive(owner, made.pk, actor="user:op", reason="again", allow_failed=True)
    [claim] = making.claimed(owner)
    assert (claim.step_index, claim.input) == (0, '{"n": 7}')
    again = making.suspension(claim, request='{"n": 7}')
    outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[again]))
    fresh = Interaction.objects.get(execution=made, status="DISPATCHED")
    answer(fresh)
    made.refresh_from_db()
    assert made.status == "QUEUED"


# --- timers ---------------------------------------------------------------------------------------


def test_a_timer_goes_on_with_what_it_was_given_once_it_has_run_out(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, request='{"n": 3}', transport="timer", timeout_seconds=3600)
    one = asked(made)
    assert one.status == "WAITING"
    awaits.expire()
    with pytest.raises(InteractionClosed):
        answer(one)
    make_late(one)
    with pytest.raises(InteractionClosed):
        answer(one)
    assert awaits.expire() == 1
    made.refresh_from_db()
    one.refresh_from_db()
    assert (one.status, one.response, one.actor) == ("COMPLETED", {"n": 3}, "timer")
    assert (made.status, made.current_step_index, made.progress) == ("QUEUED", 1, {"n": 3})
    assert making.history(made)[-1] == ("AWAIT_COMPLETED", "QUEUED")


def test_a_timer_over_a_whole_stream_gives_the_stream(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, request='[{"n": 1}, {"n": 2}]', request_shape="MULTI", gives_many=True, transport="timer")
    make_late(asked(made))
    awaits.expire()
    made.refresh_from_db()
    assert (made.progress, made.progress_shape) == ([{"n": 1}, {"n": 2}], "MULTI")


# --- cancelling -----------------------------------------------------------------------------------


def test_a_cancelled_execution_withdraws_what_it_asked(ready: tuple[Tenant, Release]) -> None:
    owner, _ = ready
    made = suspended(ready, requests=["{}", "{}"], itemized=True, gives_many=True)
    items = list(Interaction.objects.filter(execution=made).order_by("item_index"))
    answer(items[0])
    cancellation.cancel(owner, made.pk, actor="user:op", reason="no longer wanted")
    assert [Interaction.objects.get(pk=item.pk).status for item in items] == ["COMPLETED", "CANCELLED"]
    assert AwaitUnit.objects.get(execution=made).status == "CANCELLED"
    with pytest.raises(InteractionClosed):
        answer(items[1])
    make_late_count = awaits.expire()
    made.refresh_from_db()
    assert (made.status, make_late_count) == ("CANCELLED", 0)


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("request = '{}'", "interaction_request_immutable"),
        ("correlation_id = 'x'", "interaction_request_immutable"),
        ("step_index = 5", "interaction_request_immutable"),
        ("output_type = 'x'", "interaction_request_immutable"),
        ("item_index = 5", "interaction_request_immutable"),
        ("status = 'COMPLETED'", "interaction_completed_by_somebody"),
        ("response = '{}'", "interaction_completed_by_somebody"),
        ("actor = 'me'", "interaction_completed_by_somebody"),
    ],
)
def test_the_database_keeps_what_was_asked(ready: tuple[Tenant, Release], change: str, constraint: str) -> None:
    one = asked(suspended(ready))
    check_foreign_keys_now()
    assert refused(f"UPDATE executions_interaction SET {change} WHERE id = %s", one.pk) == constraint


OVER = ["COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"]


@pytest.mark.parametrize("status", OVER)
def test_the_database_changes_nothing_that_is_over(ready: tuple[Tenant, Release], status: str) -> None:
    one = asked(suspended(ready))
    check_foreign_keys_now()
    answered = ", actor = 'a', completed_at = now(), response = '1'" if status == "COMPLETED" else ""
    run(f"UPDATE executions_interaction SET status = %s{answered} WHERE id = %s", status, one.pk)
    answers = 1 if status == "COMPLETED" else 0
    run("UPDATE executions_awaitunit SET status = %s, answered_items = %s WHERE id = %s", status, answers, one.unit_id)
    for change in ("status = 'DISPATCHED'", "actor = 'b'", "version = 7"):
        sql = f"UPDATE executions_interaction SET {change} WHERE id = %s"
        assert refused(sql, one.pk) == "interaction_over_is_over"
    sql = "UPDATE executions_awaitunit SET status = 'WAITING_EXTERNAL' WHERE id = %s"
    assert refused(sql, one.unit_id) == "await_unit_over_is_over"


def test_the_database_completes_no_unit_before_its_last_answer(ready: tuple[Tenant, Release]) -> None:
    one = suspended(ready, requests=['{"n": 1}', '{"n": 2}'], itemized=True, gives_many=True).interactions.first()
    assert one is not None
    answer(one)
    check_foreign_keys_now()
    complete = "UPDATE executions_awaitunit SET status = 'COMPLETED' WHERE id = %s"
    assert refused(complete, one.unit_id) == "await_unit_counts_answers"
    overcount = "UPDATE executions_awaitunit SET answered_items = 3 WHERE id = %s"
    assert refused(overcount, one.unit_id) == "await_unit_counts"


@pytest.mark.parametrize("column", ["execution_id", "tenant_id", "unit_id"])
def test_the_database_keeps_an_interaction_with_its_unit(ready: tuple[Tenant, Release], column: str) -> None:
    """An interaction belongs to the execution and the tenant of its unit."""
    one, other = asked(suspended(ready, "one")), asked(suspended(ready, "other"))
    strangers = {"execution_id": other.execution_id, "tenant_id": making.tenant().pk, "unit_id": uuid.uuid4()}
    copied = "jsonb_build_object('id', gen_random_uuid(), 'item_index', 7, %s::text, %s::text)"
    assert (
        refused(
            "SET CONSTRAINTS ALL IMMEDIATE; INSERT INTO executions_interaction "
            f"SELECT (jsonb_populate_record(i, {copied})).* FROM executions_interaction i WHERE i.id = %s",
            column,
            str(strangers[column]),
            one.pk,
        )
        == "interaction_of_its_unit"
    )


def test_the_database_deletes_no_await(ready: tuple[Tenant, Release]) -> None:
    suspended(ready)
    check_foreign_keys_now()
    assert refused("DELETE FROM executions_interaction") == "interaction_over_is_over"
    assert refused("DELETE FROM executions_awaitunit") == "await_unit_over_is_over"


def test_an_execution_has_one_open_await(ready: tuple[Tenant, Release]) -> None:
    suspended(ready)
    check_foreign_keys_now()
    sql = """INSERT INTO executions_awaitunit SELECT (jsonb_populate_record(u, jsonb_build_object(
        'id', gen_random_uuid()))).* FROM executions_awaitunit u"""
    assert refused(sql) == "await_unit_one_open"


def test_where_the_await_cannot_be_written_the_execution_is_not_parked(ready: tuple[Tenant, Release]) -> None:
    """Both are one transaction: here an await that is open already, against all rules, stands in the way."""
    owner, release = ready
    made = making.execution(owner)
    [claim] = making.claimed(owner)
    with unguarded(AwaitUnit):
        AwaitUnit.objects.create(
            tenant=owner,
            execution=made,
            step_id="Other",
            step_index=0,
            itemized=False,
            gives_many=False,
            expected_items=1,
        )
    group = OutcomeGroup(worker_id="w", outcomes=[making.suspension(claim)])
    assert outcome.record(release.identity, group) == 1
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "UNRECORDABLE_OUTCOME")
    assert not Interaction.objects.filter(execution=made).exists()
