"""Awaits under pressure: answers, deadlines and cancellations that come at once, each in a connection of its own."""

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from coordinator.errors import CoordinatorError
from coordinator.tenancy.models import Tenant
from executions import awaits, cancellation, interactions
from executions.models import TERMINAL_VALUES, AwaitUnit, Execution, Interaction
from releases.models import Release
from tests import making
from tests.executions.parking import answer, asked, assert_timed_out, make_late, suspended
from tests.raw_sql import run


@pytest.fixture
def committed(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, settings: object
) -> Iterator[tuple[Tenant, Release]]:
    """A tenant of which other connections know. What it still runs at the end is cancelled, so that nobody meets it."""
    with django_db_blocker.unblock():
        ready = making.ready()
        yield ready
        for execution in Execution.objects.filter(tenant=ready[0]).exclude(status__in=TERMINAL_VALUES):
            cancellation.cancel(ready[0], execution.pk, actor="user:test", reason="")
        connection.close()


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run the calls in threads of their own, let go together; gives what each returned or raised."""
    barrier = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def go(place: int, call: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            results[place] = call()
        except CoordinatorError as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_the_last_answers_at_once_leave_none_behind(committed: tuple[Tenant, Release]) -> None:
    for round_number in range(5):
        made = suspended(committed, f"k{round_number}", requests=["{}"] * 4, itemized=True, gives_many=True)
        items = Interaction.objects.filter(execution=made).select_related("tenant")
        results = at_once(*(partial(answer, item) for item in items))
        assert all(isinstance(result, interactions.Completion) for result in results)
        made.refresh_from_db()
        assert (made.status, made.progress) == ("QUEUED", [{"n": 2}] * 4)
        cancellation.cancel(committed[0], made.pk, actor="a", reason="")


def test_two_answers_to_one_question_at_once_keep_one(committed: tuple[Tenant, Release]) -> None:
    made = suspended(committed)
    one = asked(made)
    results = at_once(*(partial(answer, one, {"n": number}, f"user:{number}") for number in range(6)))
    done = [result for result in results if isinstance(result, interactions.Completion)]
    assert sorted(result.duplicate for result in done) == [False] + [True] * 5
    [first] = [result for result in done if not result.duplicate]
    assert {result.interaction.actor for result in done} == {first.interaction.actor}
    made.refresh_from_db()
    assert made.progress == first.interaction.response


def test_an_answer_a_cancellation_and_a_deadline_at_once_end_in_one_way(committed: tuple[Tenant, Release]) -> None:
    owner, _ = committed
    seen = set()
    for number in range(8):
        made = suspended(committed, f"k{number}", timeout_seconds=0.05)
        one = asked(made)
        at_once(
            partial(answer, one),
            partial(cancellation.cancel, owner, made.pk, actor="user:op", reason=""),
            awaits.expire,
            awaits.expire,
        )
        run("SELECT pg_sleep(0.06)")
        awaits.expire()
        made.refresh_from_db()
        one.refresh_from_db()
        unit = AwaitUnit.objects.get(execution=made)
        seen.add((made.status, unit.status))
        assert (made.status, unit.status) in {
            ("QUEUED", "COMPLETED"),
            ("CANCELLED", "COMPLETED"),
            ("CANCELLED", "CANCELLED"),
            ("FAILED", "TIMED_OUT"),
        }
        making.history(made)
        if made.status == "QUEUED":
            cancellation.cancel(owner, made.pk, actor="a", reason="")
    assert seen


def test_what_another_sweep_holds_is_left_to_it(committed: tuple[Tenant, Release]) -> None:
    made = suspended(committed)
    make_late(asked(made))
    with transaction.atomic():
        awaits.lock(made.pk, asked(made).unit_id)
        assert at_once(awaits.expire) == [0]
    assert at_once(awaits.expire) == [1]
    assert_timed_out(made, asked(made))
