"""The page *Status*."""

import os
import socket
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from coordinator.models import Process
from coordinator.monitoring.reports import Reporter, version
from coordinator.monitoring.status import status
from tests import making

pytestmark = pytest.mark.django_db
PAGE = "admin:coordinator_process_changelist"


@pytest.fixture
def superuser(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    """This process, which reports itself as a clock with a time of long ago."""
    reporter = Reporter(Process.Kind.CLOCK, clock=lambda: 1_000_000.0)
    reporter.report()
    yield reporter
    reporter.leave()


def test_a_process_is_shown_with_its_version_and_its_clock(reporter: Reporter, superuser: Client) -> None:
    text = superuser.get(reverse(PAGE)).text
    assert socket.gethostname() in text
    assert ">drifts<" in text.replace("\n", "").replace(" ", "")
    [found] = [each for each in status().processes if each.pid == os.getpid()]
    assert (found.kind, found.version, found.is_silent, found.drifts) == (Process.Kind.CLOCK, version(), False, True)


def test_a_silent_process_is_marked_and_its_kind_is_missing(reporter: Reporter, superuser: Client) -> None:
    Process.objects.filter(kind="clock").update(reported_at="2020-01-01T00:00:00Z")
    assert Process.Kind.CLOCK in status().missing
    assert "No clock reports itself." in superuser.get(reverse(PAGE)).text
    reporter.report()
    assert Process.Kind.CLOCK not in status().missing


def test_queues_show_whether_a_worker_hosts_them(superuser: Client) -> None:
    owner, _ = making.ready()
    making.execution(owner)
    [queue] = status(owner.slug).queues
    assert (queue.tenant, queue.pipeline_id, queue.release_version) == (owner.slug, making.PIPELINE, "1.0")
    assert (queue.count, queue.hosted, queue.is_more) == (1, True, False)
    making.silence(owner.workers.get())
    assert not status(owner.slug).queues[0].hosted
    assert "none: stranded" in superuser.get(reverse(PAGE)).text


def test_a_missing_migration_is_shown(superuser: Client) -> None:
    assert "all applied" in superuser.get(reverse(PAGE)).text
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'coordinator'")
    assert status().migrations == ["coordinator.0001_processes"]
    assert "coordinator.0001_processes" in superuser.get(reverse(PAGE)).text
