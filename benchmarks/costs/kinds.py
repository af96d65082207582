"""The kinds of work of web processes, control workers and transition workers."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from benchmarks.costs.measuring import Work
from benchmarks.costs.world import FAILURE, World, claim_due, completed, run_task
from executions.models import Interaction
from executions.submission import admission
from executions.transports import celery
from executions.transports.celery import identity_of
from pipelines.worker.outbox import Report
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, RECORD_TASK
from wire.broker.client import send

BATCH = 100


def all_kinds(world: World) -> Iterator[Work]:
    yield from _web(world)
    yield from _control(world)
    yield from _worker(world)
    yield from _periodic(world)


def _web(world: World) -> Iterator[Work]:
    def submit(item: Any) -> None:
        world.call("POST", "executions", item)

    def known() -> Any:
        world.submit()
        return world.item()

    def new() -> Any:
        world.submit()
        admission.cache.clear()
        return world.item()

    def repeated() -> Any:
        key = world.key()
        world.submit(key=key)
        return world.item(key=key)

    def batch() -> Any:
        world.submit()
        return {"items": [world.item() for _ in range(BATCH)]}

    def question() -> Any:
        run_task(RECORD_TASK, world.outcome_of("asking"))
        asked = Interaction.objects.filter(status__in=Interaction.OPEN).latest("created_at")
        world.submit()
        return {"interactionId": str(asked.pk), "response": 1}

    yield Work("submission, known admission", submit, known)
    yield Work("submission, new admission", submit, new)
    yield Work("submission, repeated key", submit, repeated)
    yield Work(f"batch of {BATCH}", lambda items: world.call("POST", "executions:batch", items), batch)
    yield Work("answer", lambda body: world.call("POST", "interactions/complete", body), question)
    yield Work("GET of an execution", lambda path: world.call("GET", path), lambda: f"executions/{world.submit()[0]}")


def _control(world: World) -> Iterator[Work]:
    def due(count: int) -> Any:
        world.drain()
        world.submit(count=count)
        return count

    def failed() -> Any:
        [claim] = world.claims("one_step")
        report = Report(identity_of(claim), outcome=completed(claim, outcome="FAILED", output_payloads=[], failure=FAILURE))
        return world.workers["one_step"].host.sealed([report])

    def heartbeats() -> Any:
        world.submit()
        return [worker.host.heartbeat("HEALTHY") for worker in world.fleet]

    def record(message: Any) -> None:
        run_task(RECORD_TASK, message)

    def take_heartbeats(messages: Any) -> None:
        for message in messages:
            run_task(HEARTBEAT_TASK, message)

    for count in (1, 50):
        yield Work(f"claim of {count}", claim_due, lambda count=count: due(count))
        yield Work(f"sending of {count}", celery.send, lambda count=count: world.claims(count=count))
    yield Work("recording, one step", record, lambda: world.outcome_of("one_step"))
    yield Work("recording, three steps with checkpoints", record, lambda: world.outcome_of("three_checkpointed"))
    yield Work("recording, await", record, lambda: world.outcome_of("asking"))
    yield Work("recording, retry", record, failed)
    yield Work("heartbeat of one worker", take_heartbeats, lambda: heartbeats()[:1])
    yield Work(f"heartbeats of {len(world.fleet)} workers", take_heartbeats, heartbeats)


def _worker(world: World) -> Iterator[Work]:
    for name, module in (
        ("one step", "one_step"),
        ("three steps", "three_steps"),
        ("three steps with checkpoints", "three_checkpointed"),
        ("await", "asking"),
    ):
        yield Work(f"transition, {name}", world.workers[module].run, lambda module=module: world.command(module))
    host = world.workers["one_step"].host

    def beat(_: Any) -> None:
        send(HEARTBEAT_TASK, host.heartbeat("HEALTHY"), queue=HEARTBEAT_QUEUE)

    yield Work("heartbeat, sent by a worker", beat)


def _periodic(world: World) -> Iterator[Work]:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task = entry["task"]
        yield Work(f"at rest, {task}", lambda _, task=task: run_task(task), world.drain)
