"""Deadlines and timers of awaits, and awaits of cancelled executions."""

import pytest

from executions.awaits import awaits
from executions.errors import (
    AwaitTimedOut,
    InteractionClosed,
)
from executions.lifecycle import cancellation, outcome
from executions.models import AwaitUnit, Execution, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import answer, assert_timed_out, interaction_of, make_late, suspended
from tests.raw_sql import run
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db


def test_an_expired_deadline_fails_the_execution(ready: tuple[Tenant, Release]) -> None:
    made, other = suspended(ready, "late"), suspended(ready, "in time")
    make_late(interaction_of(made))
    assert awaits.expire() == 1
    assert_timed_out(made, interaction_of(made))
    other.refresh_from_db()
    assert other.status == "WAITING_EXTERNAL"
    assert awaits.expire() == 0


def test_a_late_answer_fails_the_execution_too(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready)
    one = interaction_of(made)
    make_late(one)
    for _ in range(2):
        with pytest.raises(AwaitTimedOut):
            answer(one)
        assert_timed_out(made, one)


def test_one_late_item_fails_the_unit_and_withdraws_the_others(ready: tuple[Tenant, Release]) -> None:
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


def test_the_error_names_the_item_that_was_late_first(ready: tuple[Tenant, Release]) -> None:
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


def test_a_redriven_await_opens_a_new_interaction(ready: tuple[Tenant, Release]) -> None:
    from executions.lifecycle.redrive import redrive

    owner, release = ready
    made = suspended(ready, request='{"n": 7}')
    make_late(interaction_of(made))
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


def test_an_expired_timer_resumes_the_execution_with_its_request(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, request='{"n": 3}', transport="timer", timeout_seconds=3600)
    one = interaction_of(made)
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


def test_an_expired_timer_over_a_stream_resumes_with_the_stream(ready: tuple[Tenant, Release]) -> None:
    made = suspended(ready, request='[{"n": 1}, {"n": 2}]', request_shape="MULTI", gives_many=True, transport="timer")
    make_late(interaction_of(made))
    awaits.expire()
    made.refresh_from_db()
    assert (made.progress, made.progress_shape) == ([{"n": 1}, {"n": 2}], "MULTI")


def test_cancelling_an_execution_withdraws_its_interactions(ready: tuple[Tenant, Release]) -> None:
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
