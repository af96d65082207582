"""Due times, deadlines and expiry times, exact to the microsecond."""

from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from executions.awaits import awaits, webhooks
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import retention
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

pytestmark = pytest.mark.django_db
MOMENT = timedelta(microseconds=1)
Ready = tuple[Tenant, Release]
Boundary = tuple[Callable[[datetime], object], Callable[[], bool]]
"""The first sets the time at which something is due. The second returns True if it is due now."""


@pytest.fixture
def ready(owner: Tenant, release: Release, settings: Any) -> Ready:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    return owner, release


def update(rows: Any, column: str) -> Callable[[datetime], object]:
    return lambda at: rows.update(**{column: at})


def claims(ready: Ready) -> Boundary:
    """Another execution of the release is always due."""
    rows = Execution.objects.filter(pk=making.execution(ready[0]).pk)
    making.execution(ready[0], "other")
    return update(rows, "next_due_at"), lambda: bool(making.claimed(ready[0])) and rows.get().status == "RUNNING"


def leases(ready: Ready) -> Boundary:
    making.execution(ready[0])
    making.claimed(ready[0])
    return (
        update(Execution.objects, "lease_expires_at"),
        lambda: bool(moves.expire_leases(actor="sweep", limit=10, most_takeovers=5)),
    )


def stranded_work(ready: Ready) -> Boundary:
    making.execution(ready[0])
    Worker.objects.update(stopped_at=now())
    return update(Execution.objects, "next_due_at"), lambda: bool(stranded([ready[0].pk]))


def open_interactions(ready: Ready) -> Boundary:
    one = interaction_of(suspended(ready))
    return lambda at: set_deadline(one, at), lambda: awaits.expire() == 1


def timers(ready: Ready) -> Boundary:
    one = interaction_of(suspended(ready, transport="timer"))
    return (
        lambda at: set_deadline(one, at),
        lambda: awaits.expire() == 1 and statuses(one.execution) == ["COMPLETED"],
    )


def webhook(ready: Ready) -> Interaction:
    """Return a webhook to a closed port. Sending it fails, and it is due again later."""
    return interaction_of(suspended(ready, transport="webhook", transport_metadata={"url": "http://127.0.0.1:1/"}))


def webhooks_to_send(ready: Ready) -> Boundary:
    return update(Interaction.objects.filter(pk=webhook(ready).pk), "next_dispatch_at"), webhooks.send


def webhooks_to_announce(ready: Ready) -> Boundary:
    return update(Interaction.objects.filter(pk=webhook(ready).pk), "next_dispatch_at"), webhooks.due_exists


def webhooks_past_their_deadline(ready: Ready) -> Boundary:
    one = webhook(ready)

    def set_at(at: datetime) -> None:
        set_deadline(one, at)
        Interaction.objects.update(next_dispatch_at=now())

    return set_at, lambda: not webhooks.send()


def webhooks_not_to_announce(ready: Ready) -> Boundary:
    one = webhook(ready)
    return lambda at: set_deadline(one, at), lambda: not webhooks.due_exists()


def removal(ready: Ready, days: int, *, retryable: bool | None, **terms: int) -> Boundary:
    made = making.execution(ready[0])
    [claim] = making.claimed(ready[0])
    making.record(making.outcome_of(claim) if retryable is None else making.failure(claim, retryable=retryable))
    Tenant.objects.filter(pk=ready[0].pk).update(**terms)
    return lambda at: making.finished(at - timedelta(days=days), made), lambda: retention.remove(seconds=60) == 1


def retention_of_results(ready: Ready) -> Boundary:
    return removal(ready, 30, retryable=None, retention_days=30)


def retention_of_failures(ready: Ready) -> Boundary:
    return removal(ready, 40, retryable=False, retention_days=1, failed_retention_days=40)


def campaign_credit(ready: Ready) -> Boundary:
    """At a rate of 60 per minute, the first item is admitted after one second."""
    making.dead(ready[0], "key")
    campaigns.start(ready[0], Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="")
    second = timedelta(seconds=1)
    return lambda at: Campaign.objects.update(rate_since=at - second), lambda: campaigns.advance() == 1


WEBHOOKS = [webhooks_to_send, webhooks_to_announce, webhooks_past_their_deadline, webhooks_not_to_announce]
OTHERS = [claims, leases, stranded_work, open_interactions, timers, retention_of_results, retention_of_failures]


@cases("of", [*OTHERS, campaign_credit, *WEBHOOKS])
def test_it_is_due_at_its_time_and_not_before(
    ready: Ready, of: Callable[[Ready], Boundary], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    set_at, is_due = of(ready)
    set_at(now() + MOMENT)
    assert not is_due()
    set_at(now())
    assert is_due()
    assert "ERROR" not in [each.levelname for each in caplog.records], (
        "the database rejected a change that was too early"
    )


def silence(_: Ready) -> Boundary:
    return update(Worker.objects, "alive_until"), lambda: WorkerEligibility.objects.get().state == "STALE"


def silence_of_rest_workers(ready: Ready) -> Boundary:
    Worker.objects.update(protocol="rest")
    return silence(ready)


def clock_of_workers(_: Ready) -> Boundary:
    """During an interruption, the worker clock stops at the arrival of the last message."""
    message_path.confirm()
    arrived_at = now() - timedelta(hours=1)
    MessagePath.objects.update(arrived_at=arrived_at)
    return update(MessagePath.objects, "expected_by"), lambda: read("worker_clock()") == arrived_at


@cases("of", [silence, silence_of_rest_workers, clock_of_workers])
def test_it_lasts_until_its_time_and_no_longer(ready: Ready, of: Callable[[Ready], Boundary]) -> None:
    set_at, is_over = of(ready)
    set_at(now())
    assert not is_over()
    set_at(now() - MOMENT)
    assert is_over()
