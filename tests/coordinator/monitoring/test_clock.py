"""The clock: its jobs run at intervals, whatever happens to the time of its host."""

import logging
import time

import pytest

from coordinator.celery import app
from coordinator.models import Process
from coordinator.monitoring.loops import SteadyScheduler
from coordinator.monitoring.reports import Reporter
from tests.wakeups import Broker, broker

__all__ = ["broker"]
pytestmark = pytest.mark.django_db


def test_jobs_go_by_a_clock_that_no_change_of_the_time_moves(broker: Broker) -> None:
    """The time of the host stands still, as seen from that clock: it is set back by each second that passes."""
    now = [1_000.0]
    scheduler = SteadyScheduler(app=app, clock=lambda: now[0])
    expected = dict.fromkeys(app.conf.beat_schedule, 0)
    for _ in range(120):
        while scheduler.tick() == 0:
            pass
        now[0] += 1
    scheduler.close()
    for name, job in app.conf.beat_schedule.items():
        every = job["schedule"].total_seconds()
        expected[name] = max(1, int(120 // every))
        assert scheduler.ages()[name] <= every + 1, name
    counted = {entry.name: entry.total_run_count for entry in scheduler.schedule.values()}
    assert all(expected[name] <= counted[name] <= expected[name] + 1 for name in expected), counted


def test_a_change_of_the_hosts_time_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    now = [time.time()]
    reporter = Reporter(Process.Kind.CLOCK, clock=lambda: now[0])
    with caplog.at_level(logging.WARNING, "coordinator.monitoring.reports"):
        reporter.report()
        assert caplog.messages == []
        now[0] -= 600
        reporter.report()
        reporter.report()
    reporter.leave()
    assert caplog.messages == ["The time of this host has changed by -600.0 s"]
