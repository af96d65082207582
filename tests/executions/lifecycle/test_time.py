from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from executions.awaits import awaits, webhooks
from executions.lifecycle import retention, sweep
from executions.models import Campaign, Execution, Interaction, MessagePath, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.transports.rest_workers import register
from executions.workers import message_path
from executions.workers.eligibility import CHECK_TASK
from executions.workers.registry import take_heartbeat
from governance import tasks as governance_tasks
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import Log, cases
from tests.executions.awaits.parking import interaction_of, make_late, suspended
from tests.executions.moments import clock, now, set_deadline, statuses
from tests.making import LONG_AGO
from tests.raw_sql import refuse
from tests.receiving import local_receivers
from tests.wakeups import Broker, broker, names
from wire.messages.celery_messages import Heartbeat

__all__ = ["broker", "local_receivers"]
pytestmark = pytest.mark.usefixtures("local_receivers")
Ready = tuple[Tenant, Release]
WEBHOOK: dict[str, Any] = {"transport": "webhook", "transport_metadata": {"url": "http://127.0.0.1:1/"}}
"""Sending fails, because the port is closed, and it is due again later."""
MOMENT = timedelta(microseconds=1)
Boundary = tuple[Callable[[datetime], object], Callable[[], bool]]
"""The first sets the time at which something is due. The second returns True if it is due now."""


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
    question = interaction_of(suspended(ready))
    return lambda at: set_deadline(question, at), lambda: awaits.expire() == 1


def webhooks_to_send(ready: Ready) -> Boundary:
    suspended(ready, **WEBHOOK)
    return update(Interaction.objects, "next_dispatch_at"), webhooks.OUTBOX.send


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


@cases("boundary_of", [claims, leases, open_interactions, webhooks_to_send, removal, campaign_credit])
def test_it_is_due_at_its_time(ready: Ready, boundary_of: Callable[[Ready], Boundary], caplog: Log) -> None:
    caplog.clear()
    set_at, is_due = boundary_of(ready)
    set_at(now() + MOMENT)
    assert not is_due()
    set_at(now())
    assert is_due()
    assert "ERROR" not in [record.levelname for record in caplog.records], "the database rejected an early change"


def test_a_worker_is_healthy_until_its_time_and_no_longer(ready: Ready) -> None:
    for alive_until, state in ((now(), "HEALTHY"), (now() - MOMENT, "STALE")):
        Worker.objects.update(alive_until=alive_until)
        assert WorkerEligibility.objects.get().state == state


def test_a_timer_that_becomes_due_while_another_expires_is_not_timed_out(ready: Ready) -> None:
    made = suspended(ready, requests=["1", "2"], itemized=True, gives_many=True, transport="timer", timeout_seconds=60)
    first, second = Interaction.objects.filter(execution=made).order_by("item_index")
    set_deadline(first, now())
    set_deadline(second, clock())
    assert awaits.expire() == 1
    assert (making.reread(made).status, statuses(made)) == ("WAITING_EXTERNAL", ["COMPLETED", "WAITING"])
    set_deadline(second, now())
    assert awaits.expire() == 1
    assert (making.reread(made).status, made.progress) == ("QUEUED", [1, 2])


@cases(("protocol", "lease", "call", "expected"), [("celery", 20, 50, 20), ("rest", 20, 50, 50), ("rest", 50, 20, 50)])
def test_how_long_leases_last(execution: Execution, protocol: str, lease: float, call: float, expected: float) -> None:
    Worker.objects.update(protocol=protocol)
    moves.claim(owner="dispatcher", limit=10, lease_seconds=lease, call_seconds=call)
    assert making.reread(execution).lease_expires_at == now() + timedelta(seconds=expected)


@cases(("transport", "sent_at"), [("interaction-api", False), ("timer", False), ("webhook", True)])
def test_the_deadline_of_an_await_counts_from_now(ready: Ready, transport: str, sent_at: bool) -> None:
    question = interaction_of(suspended(ready, **{**WEBHOOK, "transport": transport}, timeout_seconds=90.5))
    assert question.deadline == now() + timedelta(seconds=90.5)
    assert question.next_dispatch_at == (now() if sent_at else None)


@cases(("protocol", "expected"), ("celery", 40), ("rest", 120))
def test_a_worker_is_alive_for_the_silence_limit_of_its_protocol(
    ready: Ready, settings: Any, protocol: str, expected: int
) -> None:
    settings.WORKER_STALE_SECONDS = 40
    owner, release = ready
    if protocol == "celery":
        take_heartbeat(owner, release.identity, Heartbeat(worker_id="w", state="HEALTHY", capacity=1), clock())
    else:
        register(owner, release.identity, worker_id="w", protocol=protocol, actor="")
    worker = Worker.objects.get(worker_id="w")
    assert worker.alive_until is not None
    assert worker.alive_until - worker.last_heartbeat_at == timedelta(seconds=expected)


IsDone = Callable[[], bool]


def test_the_clock_runs_every_job_at_its_interval(app: Any, settings: Any) -> None:
    schedule = {entry["task"]: entry["schedule"].total_seconds() for entry in app.conf.beat_schedule.values()}
    sweeps = dict.fromkeys(["releases.sweep", "releases.carry_out_requests"], max(settings.SWEEP_SECONDS, 5))
    minutely = dict.fromkeys(["executions.remove_old", "executions.count_finished", "releases.scrub"], 60)
    others = {"executions.watch_gradual": 15, "alerts.evaluate": 30, "alerts.remove_old": 3600}
    assert schedule == {"executions.sweep": settings.SWEEP_SECONDS, **sweeps, **minutely, **others}
    assert schedule.keys() <= app.tasks.keys()


def due_work(ready: Ready) -> IsDone:
    made = making.execution(ready[0], "due")
    return lambda: Execution.objects.get(pk=made.pk).status == "RUNNING"


def old_results(ready: Ready) -> IsDone:
    Tenant.objects.filter(pk=ready[0].pk).update(failed_retention_days=1)
    making.aged(*making.dead(ready[0], "key"), days=2)
    return lambda: not Execution.objects.filter(tenant=ready[0]).exists()


def an_expired_lease(ready: Ready) -> IsDone:
    made = making.execution(ready[0])
    making.claimed(ready[0])
    Execution.objects.filter(status="RUNNING").update(lease_expires_at=LONG_AGO)
    return lambda: making.kinds(made) == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED"]


def a_late_interaction(ready: Ready) -> IsDone:
    made = suspended(ready)
    make_late(interaction_of(made))
    return lambda: Execution.objects.get(pk=made.pk).error_code == "AWAIT_TIMEOUT"


def a_campaign(ready: Ready) -> IsDone:
    [made] = making.dead(ready[0], "key")
    campaigns.start(ready[0], Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="")
    Campaign.objects.update(rate_since=LONG_AGO)
    return lambda: "REDRIVEN" in making.kinds(made)


def test_the_sweep_notes_a_silent_worker_and_one_whose_endpoint_is_not_allowed(ready: Ready, broker: Broker) -> None:
    [worker] = Worker.objects.all()
    making.silence(worker)
    governance_tasks.sweep()
    assert worker.events.get().data["cause"] == "SILENT"
    Worker.objects.update(protocol="rest", endpoint="http://192.0.2.1")
    governance_tasks.sweep()
    assert making.reread(worker).blocked_reason == "ENDPOINT_NOT_ALLOWED"


@cases(("protocol", "stopped", "expected"), [("celery", False, []), ("rest", True, []), ("rest", False, [CHECK_TASK])])
def test_what_the_sweep_announces(ready: Ready, broker: Broker, protocol: str, stopped: bool, expected: Any) -> None:
    Worker.objects.update(protocol=protocol, stopped_at=timezone.now() if stopped else None)
    with broker.commits(execute=True):
        governance_tasks.sweep()
    assert names(broker.sent()) == expected


def test_while_messages_do_not_arrive_the_sweep_does_everything_but_expire_leases(ready: Ready, broker: Broker) -> None:
    message_path.confirm()
    leased = an_expired_lease(ready)
    make_late(interaction_of(suspended(ready, "waiting")))
    due_work(ready)
    MessagePath.objects.update(arrived_at=LONG_AGO, expected_by=LONG_AGO + timedelta(seconds=15))
    governance_tasks.sweep()
    assert not leased()
    statuses = dict(Execution.objects.values_list("execution_key", "status"))
    assert statuses == {"key": "RUNNING", "waiting": "FAILED", "due": "RUNNING"}


def test_one_transaction_takes_a_bounded_batch_and_the_sweep_all_of_them(ready: Ready, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    make_late(*[interaction_of(suspended(ready, f"late{number}")) for number in range(3)])
    assert sweep.awaits_due() == 3
    for number in range(3):
        making.execution(ready[0], f"k{number}")
    making.claimed(ready[0])
    Execution.objects.filter(status="RUNNING").update(lease_expires_at=LONG_AGO)
    assert [sweep.expire_leases() for _ in range(3)] == [2, 1, 0]


PARTS = {"REDRIVEN": a_campaign, "AWAIT_TIMEOUT": a_late_interaction, "LEASE_EXPIRED": an_expired_lease}


@cases("kind", PARTS)
def test_a_failing_part_of_the_sweep_stops_no_others(ready: Ready, broker: Broker, caplog: Log, kind: str) -> None:
    caplog.clear()
    is_done = {part: prepare(making.ready()) for part, prepare in PARTS.items()}
    due = due_work(ready)
    refuse("executions_executionevent", "INSERT", f"NEW.kind = '{kind}'")
    governance_tasks.sweep()
    assert {part for part, done in is_done.items() if done()} == PARTS.keys() - {kind}
    assert due()
    assert "refused by the test" in caplog.text


@cases("statement", ["clock_timestamp", "executions_messagepath", "executions_campaign", "rate_per_minute"])
def test_without_a_database_the_sweep_stops_at_once(ready: Ready, statement: str) -> None:
    """The outage begins with the probe, with the first or the last part of the sweep, or within a campaign."""
    a_campaign(ready)
    tried: list[str] = []

    def unavailable(execute: Callable[..., Any], sql: Any, *more: Any) -> Any:
        if "SAVEPOINT" in str(sql) or (not tried and statement not in str(sql)):
            return execute(sql, *more)
        tried.append(str(sql))
        raise OperationalError("the server closed the connection")

    with connection.execute_wrapper(unavailable), pytest.raises(OperationalError):
        governance_tasks.sweep()
    assert len(tried) == 1


def test_what_cannot_be_removed_does_not_block_other_tenants(ready: Ready, caplog: Log) -> None:
    is_failing_done = old_results(ready)
    [stuck] = Execution.objects.all()
    is_done = old_results(making.ready())
    refuse("executions_execution", "DELETE", f"OLD.id = '{stuck.pk}'")
    assert retention.remove(seconds=60) == 1
    assert (is_failing_done(), is_done()) == (False, True)
    assert "refused by the test" in caplog.text
