"""Operators' requests, concurrent with each other, with outcomes and with sweeps."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from django.db import connection, connections, transaction
from django.db.models import F

from executions.awaits import interactions
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import AwaitUnit, Campaign, CampaignEvent, CampaignItem, Execution, ExecutionEvent, Interaction
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency import scenes
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.sessions import stopped_before_writing
from tests.repetition import rounds
from wire.messages.celery_messages import Outcome, OutcomeGroup

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = rounds(5)
T = TypeVar("T")
EVERY = Filters(pipeline_id=making.PIPELINE)


def ready() -> tuple[Tenant, Release]:
    owner, release = making.ready()
    return owner, release


def dead(owner: Tenant, count: int) -> list[Execution]:
    keys = [f"k{number:03}" for number in range(count)]
    return [each for start in range(0, count, 10) for each in making.dead(owner, *keys[start : start + 10])]


def start(owner: Tenant, rate: int = 60, actor: str = "user:ann") -> Campaign:
    return campaigns.start(owner, EVERY, reason="because", rate_per_minute=rate, actor=actor)


def pass_time(seconds: int = 60) -> None:
    Campaign.objects.filter(finished_at=None).update(rate_since=F("rate_since") - timedelta(seconds=seconds))


def redriving(owner: Tenant, execution: Execution, **members: Any) -> Any:
    return partial(redrive, owner, execution.pk, actor="user:bob", reason="", **members)


def cancelling(owner: Tenant, execution: Execution) -> Any:
    return partial(cancel, owner, execution.pk, actor="user:bob", reason="")


def recording(release: Release, *outcomes: Outcome) -> Any:
    group = OutcomeGroup(worker_id="w", outcomes=list(outcomes))
    return partial(outcome.record, release.identity, group)


def redrives_of(execution: Execution) -> int:
    return execution.events.filter(kind="REDRIVEN").count()


# --- re-drive ---


# --- cancel ---


@pytest.mark.parametrize("_", rounds(10))
def test_of_a_cancellation_and_an_outcome_one_wins(_: int) -> None:
    owner, release = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    recorded, cancelled = race(recording(release, making.outcome_of(claim)), cancelling(owner, execution))
    kinds = [kind for kind, _ in making.history(execution)][2:]
    if recorded:
        assert type(cancelled).__name__ == "CancelRefused"
        assert (execution.status, kinds) == ("SUCCEEDED", ["SUCCEEDED"])
    else:
        assert results_of([cancelled])
        assert (execution.status, kinds) == ("CANCELLED", ["CANCELLED", "OUTCOME_DROPPED"])


@pytest.mark.parametrize("_", rounds(10))
def test_a_cancellation_also_ends_an_execution_that_was_just_parked_or_retried(_: int) -> None:
    """In either order, the execution is cancelled and no interaction is open."""
    owner, release = ready()
    executions = [making.execution(owner, key) for key in ("parked", "failed")]
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    parked, failed = (claims[execution.pk] for execution in executions)
    results_of(
        race(
            recording(release, making.suspension(parked)),
            recording(release, making.failure(failed)),
            *[cancelling(owner, execution) for execution in executions],
        )
    )
    for execution in executions:
        making.history(execution)
        assert (execution.status, execution.await_unit) == ("CANCELLED", None)
    assert not AwaitUnit.objects.filter(status="WAITING_EXTERNAL").exists()
    assert not Interaction.objects.filter(status__in=Interaction.OPEN).exists()


@pytest.mark.parametrize("_", rounds(10))
def test_a_cancellation_and_an_answer_do_not_deadlock(_: int) -> None:
    owner, release = ready()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    recording(release, making.suspension(claim))()
    interaction = Interaction.objects.get()
    answering = partial(
        interactions.complete, owner, interaction_id=interaction.pk, response={"n": 1}, actor="user:carl"
    )
    _answered, cancelled = race(answering, cancelling(owner, execution))
    assert results_of([cancelled])
    making.history(execution)
    assert execution.status == "CANCELLED"
    interaction.refresh_from_db()
    assert interaction.status in {"COMPLETED", "CANCELLED"}


# --- campaigns ---


@pytest.mark.parametrize("_", ROUNDS)
def test_concurrent_sweeps_respect_the_rate_of_a_campaign(_: int) -> None:
    owner, _release = ready()
    executions = dead(owner, 30)
    made = start(owner, rate=12)
    pass_time()
    assert sum(results_of(race(*[campaigns.advance] * 5))) == 12
    assert CampaignItem.objects.filter(outcome="REDRIVEN").count() == 12
    assert ExecutionEvent.objects.filter(kind="REDRIVEN").count() == 12
    pass_time()
    results_of(race(*[campaigns.advance] * 5))
    pass_time()
    results_of(race(*[campaigns.advance] * 5))
    assert [redrives_of(execution) for execution in executions] == [1] * 30
    made.refresh_from_db()
    assert made.status == "COMPLETED"
    assert list(CampaignEvent.objects.values_list("kind", flat=True)) == ["STARTED", "COMPLETED"]


@pytest.mark.parametrize("_", ROUNDS)
def test_a_campaign_and_single_redrives_redrive_each_execution_once(_: int) -> None:
    owner, _release = ready()
    executions = dead(owner, 10)
    made = start(owner)
    pass_time()
    by_hand = executions[:4]
    redriven, *orders = race(campaigns.advance, *[redriving(owner, execution) for execution in by_hand])
    won, lost = parted(orders)
    assert set(lost) <= {"ExecutionChanged", "RedriveRefused"}
    assert [redrives_of(execution) for execution in executions] == [1] * 10
    assert results_of([redriven])[0] + len(won) == 10
    skipped = made.items.filter(outcome="SKIPPED")
    assert skipped.count() == len(won)
    assert set(skipped.values_list("code", flat=True)) <= {"REDRIVE_REFUSED", "VERSION_MISMATCH", "EXECUTION_CHANGED"}


def test_the_start_of_a_campaign_does_not_deadlock_with_moves() -> None:
    """A campaign orders executions by the time of their failure, but moves lock them by id."""
    owner, _release = ready()
    first, *_, last = sorted(dead(owner, 10), key=lambda execution: execution.pk)
    making.aged(last, days=30)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        hold(first)
        started = pool.submit(in_a_thread, partial(start, owner))
        wait_for_a_blocked_session()
        hold(last)
    order = list(started.result(30).items.values_list("execution_id", flat=True))
    assert order.index(last.pk) == 0


def hold(execution: Execution) -> None:
    """Lock the execution as a move does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM executions_execution WHERE id = %s FOR UPDATE", [execution.pk])


def in_a_thread(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        connections.close_all()


def wait_for_a_blocked_session() -> None:
    deadline = time.monotonic() + 30
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT FROM pg_locks waiting JOIN pg_locks held USING (pid) WHERE NOT waiting.granted AND "
                "held.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            if cursor.rowcount:
                return
            time.sleep(0.02)
    raise AssertionError("no session waits for a lock")


@pytest.mark.parametrize("_", ROUNDS)
def test_a_cancelled_campaign_accounts_for_every_item_once(_: int) -> None:
    owner, _release = ready()
    executions = dead(owner, 10)
    made = start(owner, rate=6)
    pass_time()
    admitted, _cancelled = results_of(
        race(campaigns.advance, partial(campaigns.cancel, owner, made.pk, actor="user:ann"))
    )
    found = campaigns.progress([made.pk])[made.pk]
    assert (found.pending, found.redriven, found.skipped) == (0, admitted, 10 - int(str(admitted)))
    assert sum(redrives_of(execution) for execution in executions) == admitted


def test_retention_keeps_executions_that_a_concurrent_campaign_contains() -> None:
    """The campaign commits after retention has started to select executions, so the selection does not see its item."""
    removing, _ = scenes.removal()
    [taken, *_] = Execution.objects.order_by("pk")
    with stopped_before_writing(Execution, removing) as stopped:
        with transaction.atomic():
            made = Campaign.objects.create(tenant=taken.tenant, filters={}, rate_per_minute=1, created_by="user:ann")
            CampaignItem.objects.create(campaign=made, execution=taken, expected_version=taken.version)
        assert stopped.finish() == 2
    assert list(Execution.objects.all()) == [taken]
    assert set(ExecutionEvent.objects.values_list("execution", flat=True)) == {taken.pk}
