"""Campaigns, concurrent with re-drives and with retention."""

import time
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from django.db import connection, transaction
from django.db.models import F

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, CampaignItem, Execution, ExecutionEvent
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency import scenes
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.sessions import stopped_before_writing
from tests.repetition import rounds

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


def redrives_of(execution: Execution) -> int:
    return execution.events.filter(kind="REDRIVEN").count()


# --- campaigns ---


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
