"""Deadlines and timers of awaits, and awaits of cancelled executions."""

import pytest

from executions.awaits import awaits
from executions.errors import AwaitTimedOut, InteractionClosed
from executions.lifecycle import cancellation
from executions.lifecycle.redrive import redrive
from executions.models import AwaitUnit, Execution, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import answer, assert_timed_out, interaction_of, itemized, make_late, suspended
from tests.raw_sql import run

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]


def statuses(of: Execution) -> list[str]:
    return list(Interaction.objects.filter(execution=of).order_by("item_index").values_list("status", flat=True))


def test_an_expired_deadline_fails_the_execution_and_a_redrive_asks_again(ready: Ready) -> None:
    made, other = suspended(ready, "late", request='{"n": 7}'), suspended(ready, "in time")
    make_late(interaction_of(made))
    assert awaits.expire() == 1
    assert_timed_out(made, interaction_of(made))
    other.refresh_from_db()
    assert other.status == "WAITING_EXTERNAL"
    assert awaits.expire() == 0
    redrive(ready[0], made.pk, actor="user:op", reason="again", allow_failed=True)
    [claim] = making.claimed(ready[0])
    assert (claim.step_index, claim.input) == (0, '{"n": 7}')
    making.record(making.suspension(claim, request='{"n": 7}'))
    answer(Interaction.objects.get(execution=made, status="DISPATCHED"))
    made.refresh_from_db()
    assert made.status == "QUEUED"


def test_a_late_answer_fails_the_execution_too(ready: Ready) -> None:
    made = suspended(ready)
    one = interaction_of(made)
    make_late(one)
    for _ in range(2):
        with pytest.raises(AwaitTimedOut):
            answer(one)
        assert_timed_out(made, one)


def test_one_late_item_fails_the_unit_and_withdraws_the_others(ready: Ready) -> None:
    made, items = itemized(ready, 4)
    answer(items[0])
    make_late(items[1])
    awaits.expire()
    assert_timed_out(made, items[1])
    assert statuses(made) == ["COMPLETED", "TIMED_OUT", "CANCELLED", "CANCELLED"]
    with pytest.raises(InteractionClosed) as caught:
        answer(items[2])
    assert caught.value.data == {"interactionStatus": "CANCELLED"}


def test_the_error_names_the_item_that_was_late_first(ready: Ready) -> None:
    made, items = itemized(ready, 3)
    make_late(*items)
    run("UPDATE executions_interaction SET deadline = deadline - interval '1 second' WHERE id = %s", items[1].pk)
    awaits.expire()
    assert_timed_out(made, items[1])


def test_expiry_is_bounded_and_takes_the_earliest_first(ready: Ready) -> None:
    made = [suspended(ready, f"k{number}") for number in range(3)]
    late = "UPDATE executions_interaction SET deadline = now() - make_interval(secs => %s) WHERE execution_id = %s"
    for number, each in enumerate(made):
        run(late, 10 - number, each.pk)
    states = []
    for _ in range(3):
        assert awaits.expire(limit=1) == 1
        states.append("".join(Execution.objects.get(pk=each.pk).status[0] for each in made))
    assert states == ["FWW", "FFW", "FFF"]


def test_an_expired_timer_resumes_the_execution_with_its_request(ready: Ready) -> None:
    made = suspended(ready, request='{"n": 3}', transport="timer", timeout_seconds=3600)
    one = interaction_of(made)
    assert one.status == "WAITING"
    assert awaits.expire() == 0
    for _ in range(2):
        with pytest.raises(InteractionClosed):
            answer(one)
        make_late(one)
    assert awaits.expire() == 1
    made.refresh_from_db()
    one.refresh_from_db()
    assert (one.status, one.response, one.actor) == ("COMPLETED", {"n": 3}, "timer")
    assert (made.status, made.current_step_index, made.progress) == ("QUEUED", 1, {"n": 3})
    assert making.history(made)[-1] == ("AWAIT_COMPLETED", "QUEUED")


def test_cancelling_an_execution_withdraws_its_interactions(ready: Ready) -> None:
    made, items = itemized(ready, 2)
    answer(items[0])
    cancellation.cancel(ready[0], made.pk, actor="user:op", reason="no longer wanted")
    assert statuses(made) == ["COMPLETED", "CANCELLED"]
    assert AwaitUnit.objects.get(execution=made).status == "CANCELLED"
    with pytest.raises(InteractionClosed):
        answer(items[1])
    assert awaits.expire() == 0
