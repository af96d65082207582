"""Messages that need far more memory parsed than received. A control worker rejects them with bounded memory."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.conf import settings
from redis import Redis

from tests.running import RunningProduct, eventually
from wire.broker import client
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK
from wire.messages.sealing import seal_of
from wire.messages.task_messages import NOTHING_FOLLOWS
from wire.worker_keys import WorkerKey, worker_key

pytestmark = pytest.mark.timeout(240)
MB = 1024**2
MOST_GROWTH = 200 * MB
"""The limit for messages that are not large themselves, in bytes."""
TASKS = {OUTCOME_QUEUE: RECORD_TASK, HEARTBEAT_QUEUE: HEARTBEAT_TASK}
KINDS = {"outcomes": OUTCOME_QUEUE, "heartbeat": HEARTBEAT_QUEUE}


@dataclass(frozen=True)
class Large:
    """A large message for `queue`. `body` makes the message's body for a tenant and its key."""

    queue: str
    body: Callable[[str, WorkerKey], bytes]
    members: dict[str, int] = field(default_factory=dict)  # additional members of the message's header

    def message(self, tenant: str, key: WorkerKey) -> bytes:
        header = {"task": TASKS[self.queue], "eta": None, "expires": None, "retries": 0, "sentAt": 1.0, **self.members}
        return b"\n".join((b"", json.dumps(header).encode(), self.body(tenant, key)))


def sealed(body: str, kind: str = "outcomes", *, encrypt: bool = True) -> Large:
    """Return a message that only a holder of the tenant's worker key can send."""

    def make(tenant: str, key: WorkerKey) -> bytes:
        identity = {"tenantId": tenant, "pipelineId": "p", "contractVersion": "c", "releaseVersion": "r"}
        header = {"protocolVersion": "1", "kind": kind, "timestamp": datetime.now(UTC).isoformat(), "nonce": "n"}
        header |= identity
        return with_argument(json.dumps({**header, "seals": [seal_of(header, body, key, encrypt=encrypt)]}))

    return Large(KINDS[kind], make)


def unsigned(kind: str, argument: str) -> Large:
    """Return a message that any client with write access to the queue can send."""
    return Large(KINDS[kind], lambda _tenant, _key: with_argument(argument))


def with_argument(argument: str) -> bytes:
    return f"[[{argument}],{{}},{json.dumps(NOTHING_FOLLOWS)}]".encode()


def members(count: int) -> str:
    return ",".join(f'"{number:x}":0' for number in range(count))


def zeros(count: int) -> str:
    return "0," * count + "0"


SMALL = {
    "invalid outcomes": sealed(f'{{"workerId":"w","outcomes":[{zeros(2 * MB)}]}}'),
    "invalid outcomes, unencrypted": sealed(f'{{"workerId":"w","outcomes":[{zeros(2 * MB)}]}}', encrypt=False),
    "unknown members of a body": sealed(f"{{{members(400_000)}}}"),
    "unknown members of a header": Large(OUTCOME_QUEUE, lambda *_: b"[]", {f"{n:x}": 0 for n in range(MB // 2)}),
    "invalid seals": unsigned("outcomes", f'{{"seals":[{zeros(2 * MB)}]}}'),
    "invalid leases": sealed(f'{{"workerId":"w","running":[{zeros(MB)}]}}', "heartbeat"),
    "an unsigned heartbeat": unsigned(
        "heartbeat", json.dumps({"seals": [{"encrypted": False, "body": "[" + "[]," * (5 * MB) + "[]]"}]})
    ),
}


class Memory:
    """The memory of the control worker."""

    def __init__(self, running: RunningProduct) -> None:
        [worker] = [
            child for child in running.product.children.started if child.name == "control-worker" and child.running
        ]
        self._process = Path(f"/proc/{worker.pid}")
        (self._process / "clear_refs").write_text("5")  # the peak is measured from here
        self._before = self._peak()

    def growth(self) -> int:
        return self._peak() - self._before

    def _peak(self) -> int:
        [line] = [line for line in (self._process / "status").read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024


def growth(running: RunningProduct, name: str, large: Large) -> int:
    """Send the message and return the largest growth of the control worker's memory, in bytes."""
    tenant = running.tenant(name).tenant.slug
    message = large.message(tenant, worker_key(settings.WORKER_SECRET, tenant))
    marker, dead = f"the end {uuid.uuid4()}".encode(), client.dead_messages_of(large.queue)
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        memory = Memory(running)
        redis.lpush(large.queue, message, marker)
        eventually(lambda: marker in b"".join(redis.lrange(dead, 0, 5)), seconds=120, what="the message is read")
        eventually(lambda: not redis.hlen("unacked"), seconds=60, what="the message is processed")
    return memory.growth()


@pytest.mark.parametrize("large", SMALL.values(), ids=SMALL)
def test_a_message_with_too_many_values_is_rejected_with_little_memory(
    running: RunningProduct, name: str, large: Large
) -> None:
    assert growth(running, name, large) < MOST_GROWTH


def test_a_message_of_the_largest_size_needs_a_few_times_its_size(running: RunningProduct, name: str) -> None:
    body = b"[[" + b"[]," * (40 * MB) + b"[]]]"
    assert growth(running, name, Large(OUTCOME_QUEUE, lambda *_: body)) < 5 * len(body)
