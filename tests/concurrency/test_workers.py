"""Concurrent sweeps, heartbeats and operators: each change of a worker is recorded once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from executions.errors import WorkerBeatsItself
from executions.models import Worker, WorkerEvent
from executions.transports.rest import workers
from executions.workers.registry import note_silent, take_heartbeat
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency import scenes
from tests.concurrency.racing import parted, race, results_of
from tests.concurrency.sessions import another_session, thread
from tests.concurrency.waiting import until_blocked
from wire.messages.celery_messages import Heartbeat

pytestmark = pytest.mark.usefixtures("committed")
LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def release(committed: None) -> Release:
    return making.active(making.tenant())


def heartbeat(release: Release, second: int) -> None:
    sent = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    message = Heartbeat(worker_id="w", state="HEALTHY", capacity=1)
    take_heartbeat(release.pipeline.tenant, release.identity, message, sent)


def heartbeat_of(release: Release, name: str) -> None:
    message = Heartbeat(worker_id=name, state="HEALTHY", capacity=1)
    take_heartbeat(release.pipeline.tenant, release.identity, message, timezone.now())


def register_rest(release: Release, name: str) -> None:
    workers.register(release.pipeline.tenant, release.identity, worker_id=name, protocol="rest", actor="token:t")


def test_concurrent_sweeps_record_each_silent_worker_once(release: Release) -> None:
    for number in range(20):
        making.worker(release, f"w-{number}", last_heartbeat_at=LONG_AGO)
    noted = results_of(race(*[partial(note_silent, actor="clock", limit=7)] * 6))
    while left := note_silent(actor="clock", limit=7):
        noted.append(left)
    assert sum(noted) == 20
    assert WorkerEvent.objects.count() == 20


def test_a_worker_whose_heartbeat_arrives_during_the_sweep_is_not_recorded_as_silent(release: Release) -> None:
    """The sweep reads the workers, and waits for the table of the message path before it locks them."""
    worker = making.worker(release, "w", last_heartbeat_at=LONG_AGO)
    with thread() as other, another_session() as session:
        session.execute("LOCK TABLE executions_messagepath IN ACCESS EXCLUSIVE MODE")
        noted = other.submit(note_silent, actor="clock", limit=10)
        until_blocked(session, ended=noted.done)
        session.execute(
            "UPDATE executions_worker SET last_heartbeat_at = now(), alive_until = now() + interval '1 hour'"
        )
        session.commit()
        assert noted.result(30) == 0
    assert not worker.events.exists()


def test_concurrent_first_heartbeats_register_one_worker(release: Release) -> None:
    results_of(race(*(partial(heartbeat, release, second) for second in range(6))))
    [worker] = Worker.objects.all()
    assert [event.data["cause"] for event in worker.events.all()] == ["REGISTERED"]
    assert worker.last_sent_at == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_a_client_cannot_register_a_worker_that_a_heartbeat_has_just_added(release: Release, settings: Any) -> None:
    scenes.permit(settings)
    owner = release.pipeline.tenant
    register = partial(
        workers.admit, owner, release.identity, worker_id="w", endpoint=scenes.NOWHERE, actor="user:test"
    )
    with thread() as other:
        with transaction.atomic():
            Tenant.objects.select_for_update(no_key=True).get(pk=owner.pk)
            registered = other.submit(register)
            until_blocked(connection, ended=registered.done)
            heartbeat_of(release, "w")
        assert isinstance(registered.exception(30), WorkerBeatsItself)
    assert Worker.objects.get().protocol == "celery"


@pytest.mark.parametrize("registering", [heartbeat_of, register_rest])
def test_concurrent_registrations_respect_the_limit(
    release: Release, settings: Any, registering: Callable[[Release, str], None]
) -> None:
    settings.MAX_TENANT_WORKERS = 3
    registered, refused = parted(race(*(partial(registering, release, f"w-{number}") for number in range(8))))
    assert len(registered) == 3
    assert refused == ["WorkerLimitReached"] * 5
    assert Worker.objects.count() == 3
