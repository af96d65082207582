"""The kinds of work of web processes, control workers and workers."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from benchmarks.costs.measuring import Work
from benchmarks.costs.world import World, claim_due, failed_outcome, run_task
from executions.models import Campaign, Execution, FinishedCount
from executions.submission import admission
from executions.tasks import count_finished
from executions.transports import celery
from executions.transports.celery import identity_of
from governance.campaigns import drafting, drafts
from pipelines.worker.outcomes import Report
from releases.models import Release
from wire.broker.sending import send
from wire.messages.queues import HEARTBEAT_QUEUE, HEARTBEAT_TASK, RECORD_TASK

BATCH = 100


def all_kinds(world: World) -> Iterator[Work]:
    yield from _web(world)
    yield from _control(world)
    yield from _campaigns(world)
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
        asked = world.asked()
        world.submit()
        return {"questionId": str(asked.pk), "response": 1}

    yield Work("submission, known admission", submit, known)
    yield Work("submission, new admission", submit, new)
    yield Work("submission, repeated key", submit, repeated)
    yield Work(f"batch of {BATCH}", lambda items: world.call("POST", "executions:batch", items), batch)
    yield Work("answer", lambda body: world.call("POST", "questions/answer", body), question)
    yield Work("GET of an execution", lambda path: world.call("GET", path), lambda: f"executions/{world.submit()[0]}")


def _control(world: World) -> Iterator[Work]:
    def due(count: int) -> Any:
        world.drain()
        world.submit(count=count)
        return count

    def failed() -> Any:
        [claim] = world.claims("one_step")
        report = Report(identity_of(claim), outcome=failed_outcome(claim))
        return world.workers["one_step"].host.sealed([report])

    def heartbeats() -> Any:
        world.submit()
        return [worker.host.heartbeat("HEALTHY") for worker in world.fleet]

    def record(message: Any) -> None:
        run_task(RECORD_TASK, message)

    def take_heartbeats(messages: Any) -> None:
        for message in messages:
            run_task(HEARTBEAT_TASK, message)

    for count, warm_up, times in ((1, 7, 7), (20, 3, 3)):
        yield Work(f"claim of {count}", claim_due, partial(due, count), warm_up, times)
        yield Work(f"sending of {count}", celery.send, partial(world.claims, count=count), warm_up, times)
    yield Work("recording, one step", record, lambda: world.reports_of("one_step")[-1])
    yield Work("recording, checkpoint", record, lambda: world.reports_of("three_checkpointed")[0])
    yield Work("recording, await", record, lambda: world.reports_of("asking")[-1])
    yield Work("recording, retry", record, failed)
    yield Work("heartbeat of one worker", take_heartbeats, lambda: heartbeats()[:1])
    yield Work(f"heartbeats of {len(world.fleet)} workers", take_heartbeats, heartbeats, warm_up=1, times=2)


def _campaigns(world: World) -> Iterator[Work]:
    def selection() -> Any:
        world.drain()
        ids = list(map(str, world.submit(count=BATCH)))
        return {"executionIds": ids, "kind": "pause", "draft": True, "reason": "x", "ratePerMinute": 1}

    def frozen() -> None:
        rows = Execution.objects.filter(pk__in=selection()["executionIds"])
        columns: dict[str, Any] = {"kind": "pause", "filters": {}, "rate_per_minute": 1, "created_by": "user:bench"}
        with transaction.atomic():
            drafting.freeze(world.tenant, rows, **columns)

    yield Work(f"draft of {BATCH}", lambda body: world.call("POST", "campaigns", body), selection, 3, 3)
    yield Work(f"drafting a batch of {BATCH}", lambda _: drafting.draft(), frozen, 3, 3)
    for campaign in Campaign.objects.all():  # no other kind of work finds them
        drafts.discard(world.tenant, campaign.pk, actor="user:bench")


def _worker(world: World) -> Iterator[Work]:
    for name, module in (
        ("one step", "one_step"),
        ("three steps", "three_steps"),
        ("three steps with checkpoints", "three_checkpointed"),
        ("await", "asking"),
    ):
        yield Work(f"transition, {name}", world.workers[module].run, partial(world.command, module))
    host = world.workers["one_step"].host

    def beat(_: Any) -> None:
        send(HEARTBEAT_TASK, host.heartbeat("HEALTHY"), queue=HEARTBEAT_QUEUE)

    yield Work("heartbeat, sent by a worker", beat)


def _run_periodic(task: str, _: Any) -> None:
    run_task(task)


def _periodic(world: World) -> Iterator[Work]:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task = str(entry["task"])
        with _all_counted() if task == count_finished.name else nullcontext():
            yield Work(f"at rest, {task}", partial(_run_periodic, task), world.drain)


@contextmanager
def _all_counted() -> Iterator[None]:
    """Let all that has finished be counted. Otherwise, the time of the run decides how much is counted again."""
    minute = timezone.now().replace(second=0, microsecond=0) + timedelta(days=1)
    newest = FinishedCount(release=Release.objects.earliest("pk"), minute=minute, succeeded=0, failed=0, cancelled=0)
    newest.save()
    yield
    newest.delete()
