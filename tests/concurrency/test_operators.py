"""Operators' orders at the same time as each other, as workers' outcomes, and as the clocks."""

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
from wire.messages.celery_messages import Outcome, OutcomeGroup

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = range(5)
T = TypeVar("T")
EVERY = Filters(pipeline_id=making.PIPELINE)


def ready() -> tuple[Tenant, Release]:
    owner, release = making.ready()
    return owner, release


def dead(owner: Tenant, count: int) -> list[Execution]:
    keys = [f"k{number:03}" for number in range(count)]
    return [each for start in range(0, count, 10) for each in making.dead(owner, *keys[start : start + 10])]


def start(owner: Tenant, rate: int = 60, actor: str = "user:ann") -> Campaign:
    return campaigns.start(owner, EVERY, reason="", rate_per_minute=rate, actor=actor)


def pass_time(seconds: int = 60) -> None:
    Campaign.objects.filter(finished_at=None).update(rate_since=F("rate_since") - timedelta(seconds=seconds))


def redriving(owner: Tenant, execution: Execution, **members: Any) -> Any:
    return partial(redrive, owner, execution.pk, actor="user:bob", reason="", **members)


def cancelling(owner: Tenant, execution: Execution) -> Any:
    return partial(cancel, owner, execution.pk, actor="user:bob", reason="")


def recording(release: Release, *answers: Outcome) -> Any:
    group = OutcomeGroup(worker_id="w", outcomes=list(answers))
    return partial(outcome.record, release.identity, group)


def redrives_of(execution: Execution) -> int:
    return execution.events.filter(kind="REDRIVEN").count()


# --- re-drive ---


@pytest.mark.parametrize("_", ROUNDS)
def test_of_many_redrives_at_once_one_wins(_: int) -> None:
    owner, _release = ready()
    [execution] = dead(owner, 1)
    won, lost = parted(race(*[redriving(owner, execution, expected_version=2) for _ in range(4)]))
    assert len(won) == 1
    assert set(lost) <= {"ExecutionChanged", "RedriveRefused"}
    assert redrives_of(execution) == 1
    making.history(execution)
    assert (execution.status, execution.version, execution.attempt) == ("QUEUED", 3, 1)


# --- cancel ---


@pytest.mark.parametrize("_", range(10))
def test_a_cancellation_and_an_outcome_cannot_both_win(_: int) -> None:
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


@pytest.mark.parametrize("_", range(10))
def test_a_cancellation_takes_what_a_worker_parks_or_has_retried_meanwhile(_: int) -> None:
    """Whatever comes first, the execution ends cancelled, and nothing is left that somebody could answer."""
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


@pytest.mark.parametrize("_", range(10))
def test_a_cancellation_and_a_claim_leave_no_lease_behind(_: int) -> None:
    owner, _release = ready()
    execution = making.execution(owner)
    claims, _cancelled = results_of(race(partial(making.claimed, owner), cancelling(owner, execution)))
    making.history(execution)
    assert (execution.status, execution.lease_token) == ("CANCELLED", None)
    assert execution.version == 1 + len(claims)


@pytest.mark.parametrize("_", ROUNDS)
def test_cancellations_at_once_are_one(_: int) -> None:
    owner, _release = ready()
    execution = making.execution(owner)
    results_of(race(*[cancelling(owner, execution)] * 4))
    assert making.history(execution) == [("SUBMITTED", "QUEUED"), ("CANCELLED", "CANCELLED")]


@pytest.mark.parametrize("_", range(10))
def test_a_cancellation_and_the_answer_that_was_awaited_do_not_wait_for_each_other_in_a_circle(_: int) -> None:
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
def test_clocks_at_once_admit_no_more_than_the_rate_and_nothing_twice(_: int) -> None:
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
def test_a_campaign_and_operators_by_hand_redrive_each_execution_once(_: int) -> None:
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


@pytest.mark.parametrize("_", ROUNDS)
def test_campaigns_over_the_same_executions_redrive_each_once(_: int) -> None:
    owner, _release = ready()
    executions = dead(owner, 20)
    made = results_of(race(*[partial(start, owner) for _ in range(3)]))
    pass_time()
    total = sum(results_of(race(*[campaigns.advance] * 3)))
    while any(CampaignItem.objects.filter(outcome="PENDING")):
        total += campaigns.advance()
    assert total == 20
    assert [redrives_of(execution) for execution in executions] == [1] * 20
    assert sorted(each.items.count() for each in made) == [20] * 3
    assert set(Campaign.objects.values_list("status", flat=True)) == {"COMPLETED"}


def test_a_start_locks_in_the_order_of_moves_and_so_never_waits_with_one_in_a_circle() -> None:
    """What failed first comes first in a campaign, which is not the order in which moves lock: that is by id."""
    owner, _release = ready()
    first, *_, last = sorted(dead(owner, 10), key=lambda execution: execution.pk)
    making.aged(last, days=30)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        hold(first)
        started = pool.submit(in_a_thread, partial(start, owner))
        wait_until_somebody_waits_for_a_lock()
        hold(last)
    order = list(started.result(30).items.values_list("execution_id", flat=True))
    assert order.index(last.pk) == 0


def hold(execution: Execution) -> None:
    """As a move does it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM executions_execution WHERE id = %s FOR UPDATE", [execution.pk])


def in_a_thread(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        connections.close_all()


def wait_until_somebody_waits_for_a_lock() -> None:
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
    raise AssertionError("nobody waits for a lock")


@pytest.mark.parametrize("_", ROUNDS)
def test_a_pause_and_a_clock_agree(_: int) -> None:
    owner, _release = ready()
    dead(owner, 10)
    made = start(owner, rate=6)
    pass_time()
    admitted, _paused = results_of(race(campaigns.advance, partial(campaigns.pause, owner, made.pk, actor="user:ann")))
    assert admitted in {0, 6}
    assert made.items.filter(outcome="REDRIVEN").count() == admitted
    pass_time()
    assert campaigns.advance() == 0


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


def test_what_a_campaign_took_up_while_retention_chose_is_kept() -> None:
    """The campaign commits after the choice has begun, so the choice does not see its item."""
    removing, _ = scenes.removal()
    [taken, *_] = Execution.objects.order_by("pk")
    with stopped_before_writing(Execution, removing) as stopped:
        with transaction.atomic():
            made = Campaign.objects.create(tenant=taken.tenant, filters={}, rate_per_minute=1, created_by="user:ann")
            CampaignItem.objects.create(campaign=made, execution=taken, expected_version=taken.version)
        assert stopped.finish() == 2
    assert list(Execution.objects.all()) == [taken]
    assert set(ExecutionEvent.objects.values_list("execution", flat=True)) == {taken.pk}
