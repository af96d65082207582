"""Instructions to workers: they follow the worker's row, over a queue that expires when the worker stops reading."""

import logging
import uuid
from threading import Barrier, Thread
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from redis import Redis

from executions import tasks
from executions.models import Worker
from executions.workers import instructions
from releases.models import Release
from tests import making
from tests.broker import owner_url, taken
from tests.cases import cases
from wire.broker import client as broker
from wire.messages.celery_messages import Heartbeat, Instruction
from wire.messages.limits import MOST_LEASES, TOLERANCE
from wire.messages.queues import INSTRUCTION_TASK, instruction_queue_of, queue_of
from wire.messages.sealing import check_fresh, decode, seal, verify
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def release() -> Release:
    return making.active(making.tenant())


def queue(worker: Worker, release: Release) -> str:
    return instruction_queue_of(release.identity, worker.worker_id)


@cases("drained", [False, True])
def test_an_instruction_follows_the_row_of_the_worker(release: Release, drained: bool) -> None:
    worker = making.worker(release, "w", drained_by_operator_at=timezone.now() if drained else None)
    tasks.tell_worker(worker.pk)
    [(task, [message])] = taken(queue(worker, release))
    assert task == INSTRUCTION_TASK
    envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
    assert envelope.identity == release.identity
    check_fresh(envelope, now=timezone.now())
    assert decode(envelope, Instruction) == Instruction(worker_id="w", drain=drained)


def test_an_instruction_names_the_lost_leases(release: Release) -> None:
    worker, token = making.worker(release, "w"), uuid.uuid4()
    tasks.tell_worker(worker.pk, [str(token)])
    [(_, [message])] = taken(queue(worker, release))
    envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
    assert decode(envelope, Instruction) == Instruction(worker_id="w", drain=False, lost_leases=[token])


def test_the_number_of_lost_leases_in_an_instruction_is_limited(release: Release) -> None:
    """The next heartbeat causes an instruction with the others."""
    worker, tokens = making.worker(release, "w"), [uuid.uuid4() for _ in range(MOST_LEASES + 1)]
    tasks.tell_worker(worker.pk, [str(token) for token in tokens])
    [(_, [message])] = taken(queue(worker, release))
    envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
    assert decode(envelope, Instruction).lost_leases == tokens[:MOST_LEASES]


def test_an_instruction_is_sent_only_to_the_queue_of_its_worker(release: Release) -> None:
    worker, other = making.worker(release, "w"), making.worker(release, "v")
    assert instructions.send(worker.pk)
    assert taken(queue(other, release)) == []
    assert taken(queue_of(release.identity)) == []
    assert len(taken(queue(worker, release))) == 1


@cases("changes", [{"stopped_at": timezone.now()}, {"draining_since": timezone.now()}])
def test_a_leaving_worker_gets_no_instruction(release: Release, changes: dict[str, Any]) -> None:
    worker = making.worker(release, "w", **changes)
    assert not instructions.send(worker.pk)
    assert taken(queue(worker, release)) == []


def test_an_unknown_worker_gets_no_instruction() -> None:
    assert not instructions.send(0)


def test_at_most_one_instruction_waits_and_it_expires_with_its_timestamp(release: Release) -> None:
    """The coordinator sends an instruction again with each heartbeat of a worker that does not read them."""
    worker = making.worker(release, "dead")
    message = Heartbeat(worker_id="dead", state="HEALTHY", capacity=1, taking=False)
    key = worker_key(settings.WORKER_SECRET, release.pipeline.tenant.slug)
    with Redis.from_url(owner_url()) as client:
        for _ in range(3):
            tasks.heartbeat(seal(release.identity, message, key))
            tasks.tell_worker(worker.pk)
            assert client.llen(queue(worker, release)) == 1
        assert 0 < client.pttl(queue(worker, release)) <= TOLERANCE.total_seconds() * 1000
        # The broker keeps nothing else of the queue.
        assert client.keys(f"*{queue(worker, release)}*") == [queue(worker, release).encode()]
    taken(queue(worker, release))


def test_the_waiting_instruction_is_the_newest(release: Release) -> None:
    worker = making.worker(release, "w")
    instructions.send(worker.pk)
    Worker.objects.filter(pk=worker.pk).update(drained_by_operator_at=timezone.now())
    instructions.send(worker.pk)
    [(_, [message])] = taken(queue(worker, release))
    envelope = verify(message, lambda tenant: [worker_key(settings.WORKER_SECRET, tenant)])
    assert decode(envelope, Instruction).drain


def test_two_concurrent_senders_leave_one_instruction(release: Release) -> None:
    worker = making.worker(release, "w")
    name = queue(worker, release)
    barrier = Barrier(4)

    def send() -> None:
        for number in range(25):
            barrier.wait(10)
            broker.send_latest(INSTRUCTION_TASK, {"number": number}, queue=name, seconds=60)

    senders = [Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    [(_, [message])] = taken(name)
    assert message == {"number": 24}


@pytest.mark.usefixtures("broken_broker")
def test_an_instruction_that_the_broker_rejects_is_not_sent(release: Release, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not instructions.send(making.worker(release, "w").pk)
    assert "The broker refuses messages" in caplog.text
