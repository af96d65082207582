"""Due times and deadlines, exact to the microsecond, and the lengths of leases, delays and terms."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from executions.awaits import awaits, webhooks
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import retention
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution, Interaction, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports.rest.workers import register
from executions.workers.registry import take_heartbeat
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, suspended
from tests.executions.moments import clock, now, set_deadline, statuses
from tests.receiving import local_receivers
from tests.wakeups import broker
from wire.messages.celery_messages import Heartbeat

__all__ = ["broker", "local_receivers"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_receivers")]
Ready = tuple[Tenant, Release]
TWO: dict[str, Any] = {"requests": ["1", "2"], "itemized": True, "gives_many": True}
WEBHOOK: dict[str, Any] = {"transport": "webhook", "transport_metadata": {"url": "http://127.0.0.1:1/"}}
"""Sending fails, because the port is closed, and it is due again later."""
MOMENT = timedelta(microseconds=1)
Boundary = tuple[Callable[[datetime], object], Callable[[], bool]]
"""The first sets the time at which something is due. The second returns True if it is due now."""


def two_items(ready: Ready, **members: Any) -> tuple[Execution, Interaction, Interaction]:
    made = suspended(ready, **TWO, **members)
    first, second = Interaction.objects.filter(execution=made).order_by("item_index")
    return made, first, second


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
        lambda: bool(moves.expire_leases(actor="sweep", limit=10, most_takeovers=5, lease_seconds=30)),
    )


def open_interactions(ready: Ready) -> Boundary:
    one = interaction_of(suspended(ready))
    return lambda at: set_deadline(one, at), lambda: awaits.expire() == 1


def webhooks_to_send(ready: Ready) -> Boundary:
    suspended(ready, **WEBHOOK)
    return update(Interaction.objects, "next_dispatch_at"), webhooks.send


def removal(ready: Ready) -> Boundary:
    made = making.execution(ready[0])
    making.record(making.outcome_of(making.claimed(ready[0])[0]))
    Tenant.objects.filter(pk=ready[0].pk).update(retention_days=30)
    return lambda at: making.finished(at - timedelta(days=30), made), lambda: retention.remove(seconds=60) == 1


def campaign_credit(ready: Ready) -> Boundary:
    """At a rate of 60 per minute, the first item is admitted after one second."""
    making.dead(ready[0], "key")
    campaigns.start(ready[0], Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="")
    second = timedelta(seconds=1)
    return lambda at: Campaign.objects.update(rate_since=at - second), lambda: campaigns.advance() == 1


@cases("of", [claims, leases, open_interactions, webhooks_to_send, removal, campaign_credit])
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


def test_a_worker_is_healthy_until_its_time_and_no_longer(ready: Ready) -> None:
    for alive_until, state in ((now(), "HEALTHY"), (now() - MOMENT, "STALE")):
        Worker.objects.update(alive_until=alive_until)
        assert WorkerEligibility.objects.get().state == state


def test_a_timer_that_becomes_due_while_another_expires_is_not_timed_out(ready: Ready) -> None:
    made, first, second = two_items(ready, transport="timer", timeout_seconds=60)
    set_deadline(first, now())
    set_deadline(second, clock())
    assert awaits.expire() == 1
    made.refresh_from_db()
    assert (made.status, statuses(made)) == ("WAITING_EXTERNAL", ["COMPLETED", "WAITING"])
    set_deadline(second, now())
    assert awaits.expire() == 1
    made.refresh_from_db()
    assert (made.status, made.progress) == ("QUEUED", [1, 2])


def only(column: str) -> Any:
    return Execution.objects.values_list(column, flat=True).get()


@cases(("protocol", "lease", "call", "expected"), [("celery", 20, 50, 20), ("rest", 20, 50, 50), ("rest", 50, 20, 50)])
def test_the_lease_of_a_claim_lasts_for_the_time_that_its_worker_needs(
    execution: Execution, protocol: str, lease: float, call: float, expected: float
) -> None:
    Worker.objects.update(protocol=protocol)
    moves.claim(owner="dispatcher", limit=10, lease_seconds=lease, call_seconds=call)
    assert only("lease_expires_at") == now() + timedelta(seconds=expected)


def test_a_renewed_lease_lasts_for_the_full_time_from_now(ready: Ready, claim: Claim) -> None:
    held = [(claim.execution_id, claim.lease_token)]
    moves.renew_leases(ready[0].pk, held, worker_id="w", lease_seconds=20, running={claim.lease_token: 3})
    assert only("lease_expires_at") == now() + timedelta(seconds=20)
    assert only("running_since") == now() - timedelta(seconds=3)


def an_answer(ready: Ready) -> None:
    answer(interaction_of(suspended(ready)))


def a_redrive(ready: Ready) -> None:
    [made] = making.dead(ready[0], "key")
    assert made.finished_at == now()
    redrive(ready[0], made.pk, actor="", reason="")


def a_lost_lease(ready: Ready) -> None:
    making.execution(ready[0])
    making.claimed(ready[0])
    Execution.objects.update(lease_expires_at=now(), next_due_at=now() - timedelta(hours=1))
    moves.expire_leases(actor="sweep", limit=10, most_takeovers=5, lease_seconds=30)


@cases("of", [an_answer, a_redrive, a_lost_lease])
def test_it_is_due_at_once(ready: Ready, of: Callable[[Ready], None]) -> None:
    of(ready)
    assert (only("status"), only("next_due_at"), only("finished_at")) == ("QUEUED", now(), None)
    assert len(making.claimed(ready[0])) == 1


@cases(("transport", "sent_at"), [("interaction-api", False), ("timer", False), ("webhook", True)])
def test_the_deadline_of_an_await_counts_from_now(ready: Ready, transport: str, sent_at: bool) -> None:
    one = interaction_of(suspended(ready, **{**WEBHOOK, "transport": transport}, timeout_seconds=90.5))
    assert one.deadline == now() + timedelta(seconds=90.5)
    assert one.next_dispatch_at == (now() if sent_at else None)


@cases(("protocol", "limit", "expected"), [("celery", 70, 40), ("rest", 70, 70), ("rest", 0, None)])
def test_a_worker_is_alive_for_the_silence_limit_of_its_protocol(
    ready: Ready, settings: Any, protocol: str, limit: int, expected: int | None
) -> None:
    settings.WORKER_STALE_SECONDS, settings.REST_WORKER_STALE_SECONDS = 40, limit
    owner, release = ready
    if protocol == "celery":
        take_heartbeat(owner, release.identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), clock())
    else:
        register(owner, release.identity, worker_id="w", protocol=protocol, actor="")
    worker = Worker.objects.get(worker_id="w")
    alive_for = worker.alive_until and (worker.alive_until - worker.last_heartbeat_at).total_seconds()
    assert alive_for == expected
    if expected is None:
        assert WorkerEligibility.objects.get(pk=worker.pk).state == "HEALTHY"
