"""Due times, deadlines and expiry times, exact to the microsecond."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from executions.awaits import awaits, webhooks
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import outcome, retention
from executions.models import Campaign, Execution, Interaction, MessagePath, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.workers import message_path
from executions.workers.stranded import stranded
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import interaction_of, suspended
from tests.executions.moments import now, read, set_deadline, statuses
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def ready(settings: Any) -> Ready:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    return making.ready()


@dataclass
class Boundary:
    """`set_at` sets the time at which something is due. `is_due` returns True if it is due now."""

    set_at: Callable[[datetime], object]
    is_due: Callable[[], bool]


def update(rows: Any, column: str) -> Callable[[datetime], object]:
    return lambda at: rows.update(**{column: at})


def claims(ready: Ready) -> Boundary:
    """Another execution of the release is always due."""
    rows = Execution.objects.filter(pk=making.execution(ready[0]).pk)
    making.execution(ready[0], "other")
    return Boundary(
        update(rows, "next_due_at"), lambda: bool(making.claimed(ready[0])) and rows.get().status == "RUNNING"
    )


def retries(ready: Ready) -> Boundary:
    owner, release = ready
    rows = Execution.objects.filter(pk=making.execution(owner).pk)
    [claim] = making.claimed(owner)
    outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[making.failure(claim)]))
    making.execution(owner, "other")
    return Boundary(update(rows, "next_due_at"), lambda: bool(making.claimed(owner)) and rows.get().status == "RUNNING")


def leases(ready: Ready) -> Boundary:
    making.execution(ready[0])
    making.claimed(ready[0])
    return Boundary(
        update(Execution.objects, "lease_expires_at"),
        lambda: bool(moves.expire_leases(actor="sweep", limit=10, most_takeovers=5)),
    )


def stranded_work(ready: Ready) -> Boundary:
    making.execution(ready[0])
    Worker.objects.update(stopped_at=now())
    return Boundary(update(Execution.objects, "next_due_at"), lambda: bool(stranded([ready[0].pk])))


def open_interactions(ready: Ready) -> Boundary:
    one = interaction_of(suspended(ready))
    return Boundary(lambda at: set_deadline(one, at), lambda: awaits.expire() == 1)


def timers(ready: Ready) -> Boundary:
    one = interaction_of(suspended(ready, transport="timer"))
    return Boundary(
        lambda at: set_deadline(one, at), lambda: awaits.expire() == 1 and statuses(one.execution) == ["COMPLETED"]
    )


def webhook(ready: Ready) -> Interaction:
    """Return a webhook to a closed port. Sending it fails, and it is due again later."""
    return interaction_of(suspended(ready, transport="webhook", transport_metadata={"url": "http://127.0.0.1:1/"}))


def webhooks_to_send(ready: Ready) -> Boundary:
    one = webhook(ready)
    return Boundary(update(Interaction.objects.filter(pk=one.pk), "next_dispatch_at"), webhooks.send)


def webhooks_to_announce(ready: Ready) -> Boundary:
    one = webhook(ready)
    return Boundary(update(Interaction.objects.filter(pk=one.pk), "next_dispatch_at"), webhooks.due_exists)


def webhooks_past_their_deadline(ready: Ready) -> Boundary:
    one = webhook(ready)

    def set_at(at: datetime) -> None:
        set_deadline(one, at)
        Interaction.objects.update(next_dispatch_at=now())

    return Boundary(set_at, lambda: not webhooks.send())


def webhooks_not_to_announce(ready: Ready) -> Boundary:
    one = webhook(ready)
    return Boundary(lambda at: set_deadline(one, at), lambda: not webhooks.due_exists())


def finished(ready: Ready, days: int, **terms: int) -> Callable[[datetime], object]:
    owner, release = ready
    made = making.execution(owner)
    [claim] = making.claimed(owner)
    Tenant.objects.filter(pk=owner.pk).update(**terms)
    ended = making.failure(claim, retryable=False) if "failed_retention_days" in terms else making.outcome_of(claim)
    outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[ended]))
    return lambda at: making.finished(at - timedelta(days=days), made)


def is_removed() -> bool:
    return retention.remove(seconds=60) == 1


def retention_of_results(ready: Ready) -> Boundary:
    return Boundary(finished(ready, 30, retention_days=30), is_removed)


def retention_of_failures(ready: Ready) -> Boundary:
    return Boundary(finished(ready, 40, retention_days=1, failed_retention_days=40), is_removed)


def campaign_credit(ready: Ready) -> Boundary:
    """At a rate of 60 per minute, the first item is admitted after one second."""
    making.dead(ready[0], "key")
    campaigns.start(ready[0], Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="")
    second = timedelta(seconds=1)
    return Boundary(lambda at: Campaign.objects.update(rate_since=at - second), lambda: campaigns.advance() == 1)


DUE = [
    claims,
    retries,
    leases,
    stranded_work,
    open_interactions,
    timers,
    webhooks_to_send,
    webhooks_to_announce,
    webhooks_past_their_deadline,
    webhooks_not_to_announce,
    retention_of_results,
    retention_of_failures,
    campaign_credit,
]


@cases("of", DUE)
def test_it_is_due_at_its_time_and_not_before(
    ready: Ready, of: Callable[[Ready], Boundary], caplog: pytest.LogCaptureFixture
) -> None:
    boundary = of(ready)
    boundary.set_at(now() + MOMENT)
    assert not boundary.is_due()
    boundary.set_at(now())
    assert boundary.is_due()
    assert "ERROR" not in [each.levelname for each in caplog.records], (
        "the database rejected a change that was too early"
    )


def silence(ready: Ready) -> Boundary:
    return Boundary(update(Worker.objects, "alive_until"), lambda: WorkerEligibility.objects.get().state == "STALE")


def silence_of_rest_workers(ready: Ready) -> Boundary:
    Worker.objects.update(protocol="rest")
    return silence(ready)


def clock_of_workers(ready: Ready) -> Boundary:
    """During an interruption, the worker clock stops at the arrival of the last message."""
    message_path.confirm()
    arrived_at = now() - timedelta(hours=1)
    MessagePath.objects.update(arrived_at=arrived_at)
    return Boundary(update(MessagePath.objects, "expected_by"), lambda: read("worker_clock()") == arrived_at)


@cases("of", [silence, silence_of_rest_workers, clock_of_workers])
def test_it_lasts_until_its_time_and_no_longer(ready: Ready, of: Callable[[Ready], Boundary]) -> None:
    boundary = of(ready)
    boundary.set_at(now())
    assert not boundary.is_due()
    boundary.set_at(now() - MOMENT)
    assert boundary.is_due()
