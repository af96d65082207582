"""The page *Status*."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.postgres.functions import TransactionNow
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from coordinator.models import Process
from coordinator.monitoring import gauges
from coordinator.monitoring.status import status
from executions.models import OutcomePath
from tests import making

pytestmark = pytest.mark.django_db
NOW = Now()
PAGE = "admin:coordinator_process_changelist"


@pytest.fixture
def superuser(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def reported() -> Process:
    """A clock that has just reported itself, with a time of long ago."""
    return Process.objects.create(
        kind="clock", host="far.example", pid=7, version="0", started_at=NOW, reported_at=NOW, drift_seconds=-3600
    )


def test_a_process_is_shown_with_its_clock_and_missed_when_it_is_silent(reported: Process, superuser: Client) -> None:
    text = superuser.get(reverse(PAGE)).text
    assert [reported.host in text, ">drifts<" in text.replace("\n", "").replace(" ", "")] == [True, True]
    Process.objects.filter(kind="clock").update(reported_at="2020-01-01T00:00:00Z")
    assert Process.Kind.CLOCK in status().missing
    assert "No clock reports itself." in superuser.get(reverse(PAGE)).text
    Process.objects.filter(kind="clock").update(reported_at=NOW)
    assert Process.Kind.CLOCK not in status().missing


def test_every_surface_says_how_late_outcomes_are_read(superuser: Client) -> None:
    making.tenant()
    late = TransactionNow() - timedelta(seconds=40)
    OutcomePath.objects.create(began_at=late, unread_since=late, expected_by=late + timedelta(seconds=15))
    assert "40 seconds late" in superuser.get(reverse(PAGE)).text
    [item] = superuser.get(reverse("admin:index")).context["attention"]
    assert (item.key, item.number) == ("outcomes", "40")
    assert gauges.read()[gauges.outcome_delay][()] == pytest.approx(40, abs=3)
    OutcomePath.objects.update(began_at=None, unread_since=None, expected_by=None)
    assert (status().outcome_delay, gauges.read()[gauges.outcome_delay]) == (0, {(): 0})
    assert superuser.get(reverse("admin:index")).context["attention"] == []
