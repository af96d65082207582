"""How long the broker keeps tickets, instructions and notices."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from executions.lifecycle import dispatch
from executions.models import Worker
from executions.workers import instructions, refusals
from executions.workers.tenant_keys import active_keys
from releases.models import Release
from tests import making
from tests.wakeups import Broker, broker
from wire.messages.celery_messages import Heartbeat
from wire.messages.limits import TOLERANCE
from wire.messages.queues import instruction_queue_of
from wire.messages.sealing import ProtocolError, seal

__all__ = ["broker"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def release() -> Release:
    return making.ready()[1]


@pytest.fixture
def redis(broker: Broker) -> Iterator[Any]:
    with Redis.from_url(broker.owner_url) as client:
        yield client


def assert_lasts(redis: Any, key: Any, seconds: float) -> None:
    assert seconds / 2 * 1000 < redis.pttl(key) <= seconds * 1000


def test_a_ticket_expires_no_later_than_the_leases_of_its_message(release: Release, redis: Any, settings: Any) -> None:
    settings.LEASE_SECONDS = 60
    making.execution(release.pipeline.tenant)
    assert dispatch.dispatch() == 1
    [ticket] = redis.scan_iter("*.ticket.*")
    assert_lasts(redis, ticket, 60)


def test_an_instruction_expires_once_its_worker_would_reject_it(release: Release, redis: Any) -> None:
    assert instructions.send(Worker.objects.get().pk)
    assert_lasts(redis, instruction_queue_of(release.identity, "worker-1"), TOLERANCE.total_seconds())


def test_a_notice_expires_like_an_instruction(release: Release, redis: Any) -> None:
    heartbeat = Heartbeat(worker_id="w", state="HEALTHY", capacity=1)
    message = seal(release.identity, heartbeat, *active_keys(release.identity.tenant_id))
    refusals.refuse_heartbeat(message, ProtocolError("TIMESTAMP_REFUSED", "late"))
    assert_lasts(redis, instruction_queue_of(release.identity, "w"), TOLERANCE.total_seconds())
