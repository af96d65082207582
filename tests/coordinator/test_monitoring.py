import logging
import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from coordinator.celery import app
from coordinator.models import Process
from coordinator.monitoring import gauges
from coordinator.monitoring.loops import SteadyScheduler
from coordinator.monitoring.process import Reporter
from executions.holds import holds
from executions.lifecycle import outcome
from executions.models import Execution, Interaction
from foundation.telemetry.metrics import Gauge
from tests import making
from tests.wakeups import Broker, broker
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
RELEASE = making.PIPELINE, "1.0"
__all__ = ["broker"]


def read(gauge: Gauge) -> dict[tuple[str, ...], float]:
    return dict(gauges.read().get(gauge, {}))


def test_due_executions_are_counted_by_release_and_stranded_without_a_worker() -> None:
    owner, _ = making.ready()
    other = making.tenant("other")
    making.ready(other)
    for number in range(3):
        making.execution(owner, f"key-{number}")
    making.execution(other, "key")
    Execution.objects.filter(tenant=other).update(next_due_at="2020-01-01T00:00:00Z")
    ours, theirs = (owner.slug, *RELEASE), (other.slug, *RELEASE)
    assert read(gauges.depth) == {ours: 3, theirs: 1}
    oldest = read(gauges.oldest)
    assert oldest[ours] < 60 < 86_400 * 365 < oldest[theirs]
    assert read(gauges.stranded) == {}
    making.silence(owner.workers.get())
    assert read(gauges.stranded) == {ours: 3}


def test_paused_and_later_work_does_not_count() -> None:
    owner, release = making.ready()
    first, second = (making.execution(owner, key) for key in ("first", "second"))
    holds.pause(first, actor="user:x", reason="broken")
    assert sum(read(gauges.depth).values()) == 1
    Execution.objects.filter(pk=second.pk).update(next_due_at="2100-01-01T00:00:00Z")
    assert read(gauges.depth) == {}
    Execution.objects.filter(pk=second.pk).update(next_due_at="2020-01-01T00:00:00Z")
    holds.pause(release, actor="user:x", reason="broken")
    assert read(gauges.depth) == {}


def test_open_and_overdue_awaits_are_counted_by_tenant() -> None:
    owner, release = making.ready()
    for key, transport in (("question", "interaction-api"), ("timer", "timer")):
        making.execution(owner, key)
        waits = [making.suspension(claim, transport=transport) for claim in making.claimed(owner)]
        outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=waits))
    assert (read(gauges.awaits_open), read(gauges.awaits_overdue)) == ({(owner.slug,): 1}, {(owner.slug,): 0})
    Interaction.objects.update(deadline="2020-01-01T00:00:00Z")
    assert read(gauges.awaits_overdue) == {(owner.slug,): 1}
    holds.pause(release, actor="user:x", reason="a holiday")
    assert (read(gauges.awaits_open), read(gauges.awaits_overdue)) == ({(owner.slug,): 1}, {(owner.slug,): 0})


def test_only_processes_that_report_themselves_are_counted() -> None:
    row = {"kind": "control", "host": "h", "started_at": Now(), "drift_seconds": 0.0}
    Process.objects.create(**row, pid=1, version="1", reported_at=Now())
    Process.objects.create(**row, pid=2, version="0", reported_at=Now() - timedelta(seconds=31))
    assert read(gauges.processes) == {("control", "1"): 1}


def test_jobs_go_by_a_clock_that_no_change_of_the_time_moves(broker: Broker) -> None:
    """The time of the host stands still, as seen from that clock: it is set back by each second that passes."""
    now = [1_000.0]
    scheduler = SteadyScheduler(app=app, clock=lambda: now[0])
    expected = dict.fromkeys(app.conf.beat_schedule, 0)
    for _ in range(122):
        while scheduler.tick() == 0:
            pass
        now[0] += 1
    scheduler.close()
    for name, job in app.conf.beat_schedule.items():
        every = job["schedule"].total_seconds()
        expected[name] = max(1, int(120 // every))
        assert scheduler.ages()[name] <= every + 1, name
    expires = {name: job.options["expires"] for name, job in scheduler.schedule.items() if job.options}
    assert expires == {"scrub-blobs": 55}, "a message of a long task must not wait for the next one"
    counted = {entry.name: entry.total_run_count for entry in scheduler.schedule.values()}
    assert all(expected[name] <= counted[name] <= expected[name] + 1 for name in expected), counted


def test_a_change_of_the_hosts_time_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ahead = [0.0]
    reporter = Reporter(Process.Kind.CLOCK, clock=lambda: time.time() + ahead[0])
    with caplog.at_level(logging.WARNING, "coordinator.monitoring.process"):
        reporter.report()
        assert caplog.messages == []
        ahead[0] -= 600
        reporter.report()
        reporter.report()
    reporter.leave()
    assert caplog.messages == ["The time of this host has changed by -600.0 s"]
