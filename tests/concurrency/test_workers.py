"""Concurrent sweeps, heartbeats and registrations of workers."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from executions.errors import WorkerBeatsItself
from executions.models import Worker
from executions.transports.rest import workers
from executions.workers.registry import note_silent, take_heartbeat
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency import scenes
from tests.concurrency.sessions import another_session, thread
from tests.concurrency.waiting import until_blocked
from wire.messages.celery_messages import Heartbeat

pytestmark = pytest.mark.usefixtures("committed")
LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def release(committed: None) -> Release:
    return making.active(making.tenant())


def heartbeat_of(release: Release, name: str) -> None:
    message = Heartbeat(worker_id=name, state="HEALTHY", capacity=1)
    take_heartbeat(release.pipeline.tenant, release.identity, message, timezone.now())


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
