"""The number of a tenant's workers is limited, over both protocols."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions import tasks
from executions.models import Worker
from executions.workers.tenant_keys import current_key
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat, WorkerState
from wire.messages.notices import refusal_of
from wire.messages.queues import instruction_queue_of
from wire.messages.sealing import seal

pytestmark = pytest.mark.django_db
MOST_IDS = 20
LONG_AGO = timezone.now() - timedelta(days=1, minutes=1)


@pytest.fixture
def owner(settings: Any) -> Tenant:
    settings.MAX_TENANT_WORKERS = 2
    return making.tenant()


def identity(owner: Tenant) -> ReleaseIdentity:
    return ReleaseIdentity(owner.slug, "p", "c", "r")


def send(owner: Tenant, *names: str, state: WorkerState = "HEALTHY") -> dict[str, Any]:
    """Deliver a heartbeat of each worker. Return the last one."""
    for name in names:
        message = seal(identity(owner), Heartbeat(worker_id=name, state=state, capacity=1), current_key(owner.slug))
        tasks.heartbeat(message)
    return message


def names() -> set[str]:
    return set(Worker.objects.values_list("worker_id", flat=True))


def state(name: str) -> str:
    return Worker.objects.get(worker_id=name).eligibility.state


def test_a_heartbeat_beyond_the_limit_registers_no_worker_and_is_refused(owner: Tenant) -> None:
    message = send(owner, "a", "b", "c")
    assert names() == {"a", "b"}
    [(_, [notice])] = taken(instruction_queue_of(identity(owner), "c"))
    refusal = refusal_of(notice)
    assert refusal is not None
    assert (refusal.nonce, refusal.code) == (message["nonce"], "WORKER_LIMIT_REACHED")
    other = making.tenant()
    send(other, "of-another-tenant")
    assert Worker.objects.filter(tenant=other).count() == 1


def test_workers_that_stopped_or_fell_silent_make_room_for_others(owner: Tenant) -> None:
    for number in range(4):
        send(owner, f"stopped-{number}")
        send(owner, f"stopped-{number}", state="UNAVAILABLE")
    for number in range(4):
        send(owner, f"silent-{number}")
        making.silence(Worker.objects.get(worker_id=f"silent-{number}"))
    assert len(names()) == 8


def test_the_number_of_ids_within_a_day_is_limited_too(owner: Tenant) -> None:
    for number in range(MOST_IDS + 1):
        send(owner, f"w-{number}")
        send(owner, f"w-{number}", state="UNAVAILABLE")
    assert names() == {f"w-{number}" for number in range(MOST_IDS)}
    send(owner, "w-0")
    assert state("w-0") == "HEALTHY"


def test_a_worker_that_was_silent_for_a_day_no_longer_counts_and_returns_only_below_the_limit(owner: Tenant) -> None:
    send(owner, "a", "b")
    Worker.objects.filter(worker_id="a").update(last_heartbeat_at=LONG_AGO)
    send(owner, "c", "a")
    assert names() == {"a", "b", "c"}
    assert Worker.objects.get(worker_id="a").last_heartbeat_at == LONG_AGO
    Worker.objects.filter(worker_id="b").update(last_heartbeat_at=LONG_AGO)
    send(owner, "a")
    assert Worker.objects.get(worker_id="a").last_heartbeat_at > LONG_AGO
