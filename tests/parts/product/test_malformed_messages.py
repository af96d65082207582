"""No message ends a process. A rejected message becomes a dead message, and the next one is processed."""

import json
import random
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from coordinator.celery import app
from tests.running import BuiltRelease, TenantInUse, eventually
from wire.broker import client
from wire.identity import ReleaseIdentity
from wire.messages.queues import EXECUTE_TASK, INSTRUCTION_TASK, instruction_queue_of, queue_of
from wire.messages.task_messages import NOTHING_FOLLOWS, TaskMessages, signing_keys

pytestmark = pytest.mark.timeout(240)
ROUNDS, MESSAGES_IN_ROUND = 2, 2_000
SEED = random.randrange(2**32)
app.loader.import_default_modules()
CONTROL_TASKS: dict[str, list[str]] = {queue.name: [] for queue in app.conf.task_queues}
for task in sorted(name for name in app.tasks if not name.startswith("celery.")):
    CONTROL_TASKS[app.amqp.router.route({}, task)["queue"].name].append(task)


FAULTS = [
    b'{"body": "W1tdLCB7fSwge31d", "headers": {"task": "executions.sweep"}, "properties": {"delivery_tag": "t"}}',
    b"null",
    b"",
    b"\xff\xfe\x00",
    b"9" * 100_000,
]


class Fuzzer:
    """Generates changed and random messages from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._messages = TaskMessages(keys=signing_keys([settings.SECRET_KEY]))

    def message(self, queue: str, tasks: list[str]) -> bytes:
        kind = self._random.randrange(4)
        if kind == 0:
            return self._random.randbytes(self._random.randrange(60))
        if kind == 1:
            return self._changed(self._random.choice(FAULTS)[:1000])
        header = {"task": self._random.choice(tasks), "eta": None, "expires": None, "retries": 0}
        if kind == 2:
            header[self._random.choice(list(header))] = self._value(3)
        body = self._value(4) if self._random.random() < 0.5 else [[self._value(2)], {}, NOTHING_FOLLOWS]
        return self._changed(self._messages.write(queue, header, json.dumps(body).encode()))

    def _value(self, depth: int) -> Any:
        """Return a random JSON value."""
        pick = self._random.randrange(9 if depth else 7)
        if pick == 7:
            return [self._value(depth - 1) for _ in range(self._random.randrange(4))]
        if pick == 8:
            return {str(self._value(0)): self._value(depth - 1) for _ in range(self._random.randrange(4))}
        return [None, True, -1, 1e300, 10**30, "", "9999-12-31T23:59:59+00:00"][pick]

    def _changed(self, message: bytes) -> bytes:
        """Return `message` with one part removed, repeated or replaced."""
        changed = message
        while changed == message:
            start = self._random.randrange(len(message) + 1)
            end = start + self._random.randrange(1, 10)
            part = [b"", 2 * message[start:end], b"\n", self._random.randbytes(4), b"null"][self._random.randrange(5)]
            changed = message[:start] + part + message[end:]
        return changed


@pytest.fixture
def hosted(tenant: TenantInUse, v1: BuiltRelease) -> TenantInUse:
    tenant.host(v1, "fuzzed")
    return tenant


def test_no_message_ends_a_process(hosted: TenantInUse, v1: BuiltRelease, v2: BuiltRelease) -> None:
    print(f"Seed {SEED}")
    fuzzer = Fuzzer(SEED)
    pin = [v1.document[member] for member in ("pipelineId", "contractVersion", "releaseVersion")]
    identity = ReleaseIdentity(hosted.tenant.slug, *pin)
    workers = {queue_of(identity): [EXECUTE_TASK], instruction_queue_of(identity, "fuzzed"): [INSTRUCTION_TASK]}
    tasks_of_queues = CONTROL_TASKS | workers
    processes = [child for child in hosted.product.children.started if child.running]
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        for number in range(ROUNDS):
            for queue, tasks in tasks_of_queues.items():
                messages = [fuzzer.message(queue, tasks) for _ in range(MESSAGES_IN_ROUND - len(FAULTS))]
                redis.lpush(queue, *messages, *FAULTS)
            execution_id = hosted.accepted("tests.pinned", {"number": number}, f"k{number}")["executionId"]
            eventually(lambda: not any(map(redis.llen, tasks_of_queues)), seconds=60, what="every message received")
            hosted.wait_for(execution_id, "SUCCEEDED", seconds=60)
        assert [child.name for child in processes if not child.running] == []
        for queue in tasks_of_queues:
            dead = redis.lrange(client.dead_messages_of(queue), 0, -1)
            assert len(dead) == client.MOST_DEAD_MESSAGES
            assert all(len(entry) < 3_000 for entry in dead)
    hosted.register(v2)
