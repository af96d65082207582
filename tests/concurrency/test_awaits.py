"""Concurrent answers, deadlines and cancellations."""

from collections.abc import Callable
from functools import partial

import pytest
from django.db import transaction

from executions.awaits import awaits
from executions.lifecycle import cancellation
from executions.models import AwaitUnit, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import parted, race, results_of
from tests.executions.awaits.parking import answer, assert_timed_out, interaction_of, make_late, suspended
from tests.raw_sql import run

Ready = tuple[Tenant, Release]


@pytest.fixture
def ready(committed: None) -> Ready:
    return making.ready()


def test_concurrent_last_answers_are_all_counted(ready: Ready) -> None:
    for round_number in range(5):
        made = suspended(ready, f"k{round_number}", requests=["{}"] * 4, itemized=True, gives_many=True)
        items = Interaction.objects.filter(execution=made).select_related("tenant")
        results_of(race(*(partial(answer, item) for item in items)))
        made.refresh_from_db()
        assert (made.status, made.progress) == ("QUEUED", [{"n": 2}] * 4)
        cancellation.cancel(ready[0], made.pk, actor="a", reason="")


def test_of_two_concurrent_answers_to_a_question_one_is_stored(ready: Ready) -> None:
    made = suspended(ready)
    one = interaction_of(made)
    done = results_of(race(*(partial(answer, one, {"n": number}, f"user:{number}") for number in range(6))))
    assert sorted(result.duplicate for result in done) == [False] + [True] * 5
    [first] = [result for result in done if not result.duplicate]
    assert {result.interaction.actor for result in done} == {first.interaction.actor}
    made.refresh_from_db()
    assert made.progress == first.interaction.response


def test_of_an_answer_a_cancellation_and_a_deadline_one_wins(ready: Ready) -> None:
    owner, _ = ready
    for number in range(8):
        made = suspended(ready, f"k{number}", timeout_seconds=0.05)
        one = interaction_of(made)
        calls: list[Callable[[], object]] = [
            partial(answer, one),
            partial(cancellation.cancel, owner, made.pk, actor="user:op", reason=""),
            awaits.expire,
            awaits.expire,
        ]
        _, refusals = parted(race(*calls))
        assert set(refusals) <= {"AwaitTimedOut", "InteractionClosed", "CancelRefused"}
        run("SELECT pg_sleep(0.06)")
        awaits.expire()
        made.refresh_from_db()
        one.refresh_from_db()
        unit = AwaitUnit.objects.get(execution=made)
        assert (made.status, unit.status) in {
            ("QUEUED", "COMPLETED"),
            ("CANCELLED", "COMPLETED"),
            ("CANCELLED", "CANCELLED"),
            ("FAILED", "TIMED_OUT"),
        }
        making.history(made)
        if made.status == "QUEUED":
            cancellation.cancel(owner, made.pk, actor="a", reason="")


def test_a_sweep_skips_executions_that_another_sweep_holds(ready: Ready) -> None:
    made = suspended(ready)
    make_late(interaction_of(made))
    with transaction.atomic():
        awaits.lock(made.pk, interaction_of(made).unit_id)
        assert race(awaits.expire) == [0]
    assert race(awaits.expire) == [1]
    assert_timed_out(made, interaction_of(made))
