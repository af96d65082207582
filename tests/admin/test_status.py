"""The page *Status*."""

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from coordinator.models import Process
from coordinator.monitoring.status import status

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
