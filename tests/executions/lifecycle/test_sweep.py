"""The beat schedule and the sweep: the work it finds, its limits, and how it continues after a failed part."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from executions import tasks
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import retention, sweep
from executions.models import Campaign, Execution, MessagePath, Worker
from executions.workers import message_path
from executions.workers.eligibility import CHECK_TASK
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import interaction_of, make_late, suspended
from tests.making import LONG_AGO
from tests.raw_sql import refuse
from tests.wakeups import Broker, broker, names

__all__ = ["broker"]
pytestmark = pytest.mark.django_db
Ready = tuple[Tenant, Release]
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


def a_silent_worker(_: Ready) -> IsDone:
    [worker] = Worker.objects.all()
    making.silence(worker)
    return lambda: [event.data["cause"] for event in worker.events.all()] == ["SILENT"]


def a_worker_whose_endpoint_is_not_allowed(_: Ready) -> IsDone:
    Worker.objects.update(protocol="rest", endpoint="http://192.0.2.1")
    return lambda: Worker.objects.get().blocked_reason == "ENDPOINT_NOT_ALLOWED"


def a_campaign(ready: Ready) -> IsDone:
    [made] = making.dead(ready[0], "key")
    campaigns.start(ready[0], Filters(pipeline_id=making.PIPELINE), reason="because", rate_per_minute=60, actor="")
    Campaign.objects.update(rate_since=LONG_AGO)
    return lambda: "REDRIVEN" in making.kinds(made)


@cases("of", [a_silent_worker, a_worker_whose_endpoint_is_not_allowed])
def test_the_sweep_finds_workers_to_note(ready: Ready, broker: Broker, of: Callable[[Ready], IsDone]) -> None:
    is_done = of(ready)
    assert not is_done()
    tasks.sweep()
    assert is_done()


@cases(("protocol", "stopped", "expected"), [("celery", False, []), ("rest", True, []), ("rest", False, [CHECK_TASK])])
def test_the_sweep_announces_nothing_but_checks_of_rest_workers(
    ready: Ready, broker: Broker, protocol: str, stopped: bool, expected: list[str]
) -> None:
    Worker.objects.update(protocol=protocol, stopped_at=timezone.now() if stopped else None)
    with broker.commits(execute=True):
        tasks.sweep()
    assert names(broker.sent()) == expected


def test_while_messages_do_not_arrive_the_sweep_does_everything_but_expire_leases(ready: Ready, broker: Broker) -> None:
    message_path.confirm()
    leased = an_expired_lease(ready)
    make_late(interaction_of(suspended(ready, "waiting")))
    due_work(ready)
    MessagePath.objects.update(arrived_at=LONG_AGO, expected_by=LONG_AGO + timedelta(seconds=15))
    tasks.sweep()
    assert not leased()
    found = dict(Execution.objects.values_list("execution_key", "status"))
    assert found == {"key": "RUNNING", "waiting": "FAILED", "due": "RUNNING"}


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
def test_a_part_of_the_sweep_that_fails_does_not_stop_the_others(
    ready: Ready, broker: Broker, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.clear()
    is_done = {each: of(making.ready()) for each, of in PARTS.items()}
    due = due_work(ready)
    refuse("executions_executionevent", "INSERT", f"NEW.kind = '{kind}'")
    tasks.sweep()
    assert {each for each, done in is_done.items() if done()} == PARTS.keys() - {kind}
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
        tasks.sweep()
    assert len(tried) == 1


def test_executions_that_cannot_be_removed_do_not_block_those_of_other_tenants(
    ready: Ready, caplog: pytest.LogCaptureFixture
) -> None:
    is_failing_done = old_results(ready)
    [stuck] = Execution.objects.all()
    is_done = old_results(making.ready())
    refuse("executions_execution", "DELETE", f"OLD.id = '{stuck.pk}'")
    assert retention.remove(seconds=60) == 1
    assert (is_failing_done(), is_done()) == (False, True)
    assert "refused by the test" in caplog.text
