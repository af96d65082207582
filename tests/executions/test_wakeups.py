"""Each wake-up of the executions package advances work immediately. If it is lost, the sweep finds the work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from executions import tasks
from executions.awaits import awaits, webhooks
from executions.awaits.awaits import EXPIRE_TASK, SEND_TASK
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Campaign, Execution, Interaction, Worker
from executions.workers import registry
from executions.workers.registry import DISPATCH_TASK, INSTRUCT_TASK, take_heartbeat
from executions.workers.tenant_keys import active_keys
from foundation import places
from governance import tasks as governance_tasks
from governance.campaigns import campaigns, drafting
from governance.campaigns.selection import Filters
from governance.retirement.retirement import FAIL_TASK, Order, revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.broker import taken
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, make_late, suspended
from tests.few_places import limited
from tests.raw_sql import run
from tests.receiving import Receiver, receiving
from tests.wakeups import LATER, Broker, Work, assert_found_by_the_sweep, assert_moves_at_once, broker
from wire.messages.celery_messages import Heartbeat, HeldLease, Instruction, OutcomeGroup
from wire.messages.queues import instruction_queue_of
from wire.messages.sealing import decode, seal, verify

__all__ = ["broker"]
ACTOR = "user:ann"


@dataclass
class Scene:
    """A tenant with an active release and one worker. All of its webhooks are sent to `receiver`."""

    owner: Tenant
    release: Release
    receiver: Receiver

    def submit(self, key: str = "key") -> Execution:
        return making.execution(self.owner, key)

    def parked(self, key: str = "key", **members: Any) -> Execution:
        return suspended((self.owner, self.release), key, **members)

    def awaiting(self, key: str = "key", **members: Any) -> Callable[[], object]:
        """Start an execution. Return a function that records that its worker has reached an await."""
        made = self.submit(key)
        [claim] = [claim for claim in making.claimed(self.owner) if claim.execution_id == made.pk]
        reached = making.suspension(claim, **members)
        return lambda: making.record(reached)

    def webhook(self, key: str = "key", **members: Any) -> Callable[[], object]:
        where = {"url": self.receiver.url()}
        return self.awaiting(key, transport="webhook", transport_metadata=where, **members)

    def heartbeat(self, second: int = 0, **members: Any) -> None:
        body: dict[str, Any] = {"worker_id": "worker-1", "state": "HEALTHY", "capacity": 10, **members}
        take_heartbeat(self.owner, self.release.identity, Heartbeat(**body), timezone.now() + timedelta(seconds=second))

    def drain(self, change: Callable[..., object] = registry.drain) -> None:
        change(self.owner, making.PIPELINE, "worker-1", actor=ACTOR)

    def is_running(self, key: str = "key") -> bool:
        return Execution.objects.get(tenant=self.owner, execution_key=key).status == "RUNNING"

    def work(self, cause: Callable[[], object], *wakeups: str, **members: Any) -> Work:
        """Return work that is done once the execution `key` is RUNNING, unless `members` override this."""
        return Work(cause, list(wakeups), **{"is_done": self.is_running, "sweep": governance_tasks.sweep, **members})

    def instructions(self) -> list[Instruction]:
        messages = taken(instruction_queue_of(self.release.identity, "worker-1"))
        return [decode(verify(message, active_keys), Instruction) for _, [message] in messages]

    def is_instructed(self, *, drain: bool) -> bool:
        return [instruction.drain for instruction in self.instructions()] == [drain]


@pytest.fixture
def scene(owner: Tenant, release: Release, settings: Any) -> Iterator[Scene]:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.RETRY_JITTER, settings.WEBHOOK_DELAY_SECONDS = 0, 20
    with receiving() as receiver:
        yield Scene(owner, release, receiver)


def make_due() -> None:
    Execution.objects.filter(status="WAIT_RETRY").update(next_due_at=making.LONG_AGO)


def room_for_another(scene: Scene) -> Work:
    """The outcome of one execution frees a place for the next."""
    Worker.objects.update(capacity=1)
    scene.submit("first")
    [claim] = making.claimed(scene.owner)
    scene.submit()
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    message = seal(scene.release.identity, group, *active_keys(scene.owner.slug))
    return scene.work(lambda: tasks.record(message), DISPATCH_TASK)


def retries(scene: Scene, *earlier: str) -> Work:
    """Each delay needs a separate wake-up. Those that failed earlier are delayed longer."""
    for key in earlier:
        scene.submit(key)
        making.record(making.failure(making.claimed(scene.owner)[0]))
        make_due()
    scene.submit()
    claims = making.claimed(scene.owner)
    delays = [10, 20][: len(claims)]
    wakeups = [DISPATCH_TASK + LATER] * len(claims)
    return scene.work(lambda: making.record(*map(making.failure, claims)), *wakeups, delays=delays, age=make_due)


def a_redrive(scene: Scene) -> Work:
    [made] = making.dead(scene.owner, "key")
    return scene.work(lambda: redrive(scene.owner, made.pk, actor=ACTOR, reason="again"), DISPATCH_TASK)


def a_campaign(scene: Scene) -> Work:
    making.dead(scene.owner, "key")
    campaigns.start(scene.owner, Filters(pipeline_id=making.PIPELINE), reason="again", rate_per_minute=60, actor=ACTOR)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(minutes=1))
    return scene.work(campaigns.advance, DISPATCH_TASK)


def a_large_campaign(scene: Scene) -> Work:
    making.copies(scene.submit(), 2 * drafting.BATCH)
    owner, filters = scene.owner, Filters(pipeline_id=making.PIPELINE)
    members: dict[str, Any] = {"kind": Campaign.Kind.PAUSE, "reason": "x", "rate_per_minute": 60, "actor": ACTOR}
    start = partial(campaigns.start, owner, filters, **members)
    done = Campaign.objects.filter(status="RUNNING").exists
    return scene.work(start, drafting.DRAFT_TASK, is_done=done, sweep=lambda: [drafting.draft() for _ in range(3)])


def an_order_to_fail(scene: Scene) -> Work:
    scene.submit()
    order = partial(revoke, scene.release, actor=ACTOR, reason="leaked", open_executions=Order.FAIL)
    return scene.work(order, FAIL_TASK, is_done=lambda: Execution.objects.get().status == "FAILED")


def an_answer(scene: Scene, *, repeated: bool = False) -> Work:
    question = interaction_of(scene.parked())
    if repeated:
        answer(question)
    return scene.work(lambda: answer(question), DISPATCH_TASK)


def a_timer(scene: Scene) -> Work:
    """The message for the timer, whose task then sends one for the execution."""
    reached = scene.awaiting(transport="timer", timeout_seconds=30)
    return scene.work(reached, EXPIRE_TASK + LATER, delays=[30], age=lambda: make_late(*Interaction.objects.all()))


def received(scene: Scene, count: int = 1) -> Callable[[], bool]:
    return lambda: len(scene.receiver.requests) == count


def webhooks_of_one_await(scene: Scene, count: int) -> Work:
    """One message for each webhook, so that several workers send them. The tasks of a few announce the next ones."""
    many = scene.webhook(requests=["{}"] * count, itemized=count > 1, gives_many=count > 1)
    return scene.work(many, *[SEND_TASK] * min(count, awaits.MOST_SENDERS), is_done=received(scene, count))


def a_webhook_that_was_not_received(scene: Scene) -> Work:
    """One message for the next webhook, and one for the next attempt."""
    scene.receiver.statuses = [500, 200]
    scene.webhook()()
    due = partial(run, "UPDATE executions_interaction SET next_dispatch_at = now()")
    wakeups = (SEND_TASK, SEND_TASK + LATER)
    return scene.work(webhooks.OUTBOX.send, *wakeups, delays=[20], is_done=received(scene, 2), age=due)


def a_webhook_that_found_no_place(scene: Scene) -> Work:
    scene.webhook()()

    def crowded() -> None:
        with limited(places.WEBHOOKS, 1), places.WEBHOOKS.hold():
            assert not webhooks.OUTBOX.send()

    return scene.work(crowded, SEND_TASK + LATER, delays=[2], is_done=received(scene))


def a_worker_that_comes(scene: Scene, *instructions: str, **members: Any) -> Work:
    scene.submit()
    making.silence(*Worker.objects.all())
    return scene.work(lambda: scene.heartbeat(**members), DISPATCH_TASK, *instructions)


def a_drain(scene: Scene) -> Work:
    is_done = partial(scene.is_instructed, drain=True)
    return scene.work(scene.drain, INSTRUCT_TASK, is_done=is_done, sweep=lambda: scene.heartbeat(1, taking=True))


def an_undrain(scene: Scene) -> Work:
    scene.drain()
    again = partial(scene.heartbeat, 1, taking=False)
    is_done = partial(scene.is_instructed, drain=False)
    undrain = partial(scene.drain, registry.undrain)
    return scene.work(undrain, INSTRUCT_TASK, DISPATCH_TASK, is_done=is_done, sweep=again)


def a_cancellation(scene: Scene) -> Work:
    made = scene.submit()
    [claim] = making.claimed(scene.owner)
    held = HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=2)
    scene.heartbeat(running=[held])
    return scene.work(
        lambda: cancel(scene.owner, made.pk, actor=ACTOR, reason=""),
        INSTRUCT_TASK,
        is_done=lambda: [instruction.lost_leases for instruction in scene.instructions()] == [[claim.lease_token]],
        sweep=lambda: scene.heartbeat(1, running=[held]),
    )


WORKS: dict[str, Callable[[Scene], Work]] = {
    "submission": lambda scene: scene.work(scene.submit, DISPATCH_TASK),
    "room for another": room_for_another,
    "retry": retries,
    "retries with two delays": lambda scene: retries(scene, "other"),
    "re-drive": a_redrive,
    "campaign": a_campaign,
    "large campaign": a_large_campaign,
    "order to fail": an_order_to_fail,
    "answer": an_answer,
    "answer that is repeated": lambda scene: an_answer(scene, repeated=True),
    "timer": a_timer,
    "webhook": lambda scene: webhooks_of_one_await(scene, 1),
    "very many webhooks of one await": lambda scene: webhooks_of_one_await(scene, awaits.MOST_SENDERS + 2),
    "webhook that was not received": a_webhook_that_was_not_received,
    "webhook that found no place": a_webhook_that_found_no_place,
    "worker that comes": a_worker_that_comes,
    "worker without an instruction": lambda scene: a_worker_that_comes(scene, INSTRUCT_TASK, answered=False),
    "instruction to drain": a_drain,
    "instruction to work": an_undrain,
    "cancellation": a_cancellation,
}


@cases("kind", WORKS)
@cases("found", [assert_moves_at_once, assert_found_by_the_sweep])
def test_a_wake_up_advances_work_immediately_and_the_sweep_finds_it_if_it_is_lost(
    scene: Scene, broker: Broker, kind: str, found: Callable[[Work, Broker], None]
) -> None:
    scene.receiver.requests.clear()
    scene.receiver.statuses = [200]
    found(WORKS[kind](scene), broker)
