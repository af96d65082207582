"""Each wake-up of the executions package advances work immediately. If it is lost, the sweep finds the work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from executions import tasks
from executions.awaits import awaits, opening, webhooks
from executions.awaits.awaits import EXPIRE_TASK, SEND_TASK
from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.lifecycle.revoked import FAIL_TASK
from executions.models import Campaign, Execution, Interaction, Worker
from executions.state_machine.moves import Claim
from executions.workers import registry
from executions.workers.registry import DISPATCH_TASK, INSTRUCT_TASK, take_heartbeat
from executions.workers.tenant_keys import active_keys
from foundation.scheduling import places
from releases.activation.revocation import Order, revoke
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
pytestmark = pytest.mark.django_db
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
        [claim] = [each for each in making.claimed(self.owner) if each.execution_id == made.pk]
        reached = making.suspension(claim, **members)
        return lambda: making.record(reached)

    def webhook(self, key: str = "key", **members: Any) -> Callable[[], object]:
        where = {"url": self.receiver.url()}
        return self.awaiting(key, transport="webhook", transport_metadata=where, **members)

    def heartbeat(self, second: int = 0, **members: Any) -> None:
        body: dict[str, Any] = {"worker_id": "worker-1", "state": "HEALTHY", "capacity": 10, **members}
        take_heartbeat(self.owner, self.release.identity, Heartbeat(**body), timezone.now() + timedelta(seconds=second))

    def drain(self) -> None:
        registry.drain(self.owner, making.PIPELINE, "worker-1", actor=ACTOR)

    def undrain(self) -> None:
        registry.undrain(self.owner, making.PIPELINE, "worker-1", actor=ACTOR)

    def is_running(self, key: str = "key") -> bool:
        return Execution.objects.get(tenant=self.owner, execution_key=key).status == "RUNNING"

    def work(self, cause: Callable[[], object], *wakeups: str, **members: Any) -> Work:
        """Return work that is done once the execution `key` is RUNNING, unless `members` override this."""
        return Work(
            **{"cause": cause, "wakeups": list(wakeups), "is_done": self.is_running, "sweep": tasks.sweep, **members}
        )

    def instructions(self) -> list[Instruction]:
        """Take the instructions in the queue of worker-1."""
        found = taken(instruction_queue_of(self.release.identity, "worker-1"))
        return [decode(verify(message, active_keys), Instruction) for _, [message] in found]


@pytest.fixture
def scene(owner: Tenant, release: Release, settings: Any) -> Iterator[Scene]:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.RETRY_JITTER, settings.WEBHOOK_DELAY_SECONDS = 0, 20
    with receiving() as receiver:
        yield Scene(owner, release, receiver)


def make_due(scene: Scene) -> None:
    Execution.objects.filter(tenant=scene.owner, status="WAIT_RETRY").update(next_due_at=making.LONG_AGO)


# --- executions that become due ---


def a_submission(scene: Scene) -> Work:
    return scene.work(scene.submit, DISPATCH_TASK)


def room_for_another(scene: Scene) -> Work:
    """The outcome of one execution frees a place for the next."""
    Worker.objects.update(capacity=1)
    scene.submit("first")
    [claim] = making.claimed(scene.owner)
    scene.submit()
    group = OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)])
    message = seal(scene.release.identity, group, *active_keys(scene.owner.slug))
    return scene.work(lambda: tasks.record(message), DISPATCH_TASK)


def a_retry(scene: Scene) -> Work:
    scene.submit()
    [claim] = making.claimed(scene.owner)
    return scene.work(
        lambda: making.record(making.failure(claim)), DISPATCH_TASK + LATER, delays=[10], age=lambda: make_due(scene)
    )


def retries_with_two_delays(scene: Scene) -> Work:
    """Each delay needs a separate wake-up."""
    scene.submit("other")
    [early] = making.claimed(scene.owner)
    making.record(making.failure(early))
    make_due(scene)
    scene.submit()
    claims = making.claimed(scene.owner)
    return scene.work(
        lambda: making.record(*map(making.failure, claims)),
        *[DISPATCH_TASK + LATER] * 2,
        delays=[10, 20],
        age=lambda: make_due(scene),
    )


def a_redrive(scene: Scene) -> Work:
    [made] = making.dead(scene.owner, "key")
    return scene.work(lambda: redrive(scene.owner, made.pk, actor=ACTOR, reason="again"), DISPATCH_TASK)


def a_campaign(scene: Scene) -> Work:
    making.dead(scene.owner, "key")
    campaigns.start(scene.owner, Filters(pipeline_id=making.PIPELINE), reason="again", rate_per_minute=60, actor=ACTOR)
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(minutes=1))
    return scene.work(campaigns.advance, DISPATCH_TASK)


# --- awaits ---


def an_answer(scene: Scene) -> Work:
    one = interaction_of(scene.parked())
    return scene.work(lambda: answer(one), DISPATCH_TASK)


def an_answer_that_is_repeated(scene: Scene) -> Work:
    one = interaction_of(scene.parked())
    answer(one)
    return scene.work(lambda: answer(one), DISPATCH_TASK)


def the_last_answer_of_several(scene: Scene) -> Work:
    made = scene.parked(requests=["{}", "{}"], itemized=True, gives_many=True)
    first, last = Interaction.objects.filter(execution=made).select_related("tenant")
    answer(first)
    return scene.work(lambda: answer(last), DISPATCH_TASK)


def an_order_to_fail(scene: Scene) -> Work:
    made = scene.submit()
    return scene.work(
        lambda: revoke(scene.release, actor=ACTOR, reason="leaked", open_executions=Order.FAIL),
        FAIL_TASK,
        is_done=lambda: Execution.objects.get(pk=made.pk).status == "FAILED",
    )


def a_timer(scene: Scene) -> Work:
    """The message for the timer, whose task then sends one for the execution."""
    reached = scene.awaiting(transport="timer", timeout_seconds=30)
    return scene.work(reached, EXPIRE_TASK + LATER, delays=[30], age=lambda: make_late(*Interaction.objects.all()))


def a_timer_that_ran_out(scene: Scene) -> Work:
    make_late(interaction_of(scene.parked(transport="timer")))
    return scene.work(awaits.expire, DISPATCH_TASK)


EXECUTIONS = [a_submission, room_for_another, a_retry, retries_with_two_delays, a_redrive, a_campaign, an_order_to_fail]
ANSWERS = [an_answer, an_answer_that_is_repeated, the_last_answer_of_several, a_timer, a_timer_that_ran_out]


# --- webhooks ---


def received(scene: Scene, count: int = 1) -> Callable[[], bool]:
    return lambda: len(scene.receiver.requests) == count


def make_webhooks_due(scene: Scene) -> None:
    run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE tenant_id = %s", scene.owner.pk)


def a_webhook(scene: Scene) -> Work:
    return scene.work(scene.webhook(), SEND_TASK, is_done=received(scene))


def webhooks_of_one_await(scene: Scene) -> Work:
    """One message for each webhook, so that several workers send them."""
    return scene.work(
        scene.webhook(requests=["{}"] * 3, itemized=True, gives_many=True),
        *[SEND_TASK] * 3,
        is_done=received(scene, 3),
    )


def very_many_webhooks_of_one_await(scene: Scene) -> Work:
    """A few messages, whose tasks each announce the next webhook."""
    many = opening.MOST_SENDERS + 2
    return scene.work(
        scene.webhook(requests=["{}"] * many, itemized=True, gives_many=True),
        *[SEND_TASK] * opening.MOST_SENDERS,
        is_done=received(scene, many),
    )


def the_next_webhook(scene: Scene) -> Work:
    for key in ("first", "next"):
        scene.webhook(key)()
    return scene.work(webhooks.send, SEND_TASK, is_done=received(scene, 2))


def a_webhook_that_was_not_received(scene: Scene) -> Work:
    """One message for the next webhook, and one for the next attempt."""
    scene.receiver.statuses = [500, 200]
    scene.webhook()()
    return scene.work(
        webhooks.send,
        SEND_TASK,
        SEND_TASK + LATER,
        delays=[20],
        is_done=received(scene, 2),
        age=lambda: make_webhooks_due(scene),
    )


def a_webhook_that_found_no_place(scene: Scene) -> Work:
    scene.webhook()()

    def crowded() -> None:
        with limited(places.WEBHOOKS, 1), places.WEBHOOKS.hold():
            assert not webhooks.send()

    return scene.work(crowded, SEND_TASK + LATER, delays=[2], is_done=received(scene))


SEVERAL = [webhooks_of_one_await, very_many_webhooks_of_one_await, the_next_webhook]
WEBHOOKS = [a_webhook, *SEVERAL, a_webhook_that_was_not_received, a_webhook_that_found_no_place]


# --- workers ---


def a_worker_that_comes(scene: Scene) -> Work:
    scene.submit()
    making.silence(*Worker.objects.all())
    return scene.work(scene.heartbeat, DISPATCH_TASK)


def a_worker_without_an_order(scene: Scene) -> Work:
    scene.submit()
    making.silence(*Worker.objects.all())
    return scene.work(lambda: scene.heartbeat(answered=False), DISPATCH_TASK, INSTRUCT_TASK)


def the_end_of_a_drain(scene: Scene) -> Work:
    scene.submit()
    scene.drain()
    return scene.work(scene.undrain, DISPATCH_TASK, INSTRUCT_TASK)


# --- instructions, which the next heartbeat sends again ---


def a_drain(scene: Scene) -> Work:
    return scene.work(
        scene.drain,
        INSTRUCT_TASK,
        is_done=lambda: [each.drain for each in scene.instructions()] == [True],
        sweep=lambda: scene.heartbeat(1, taking=True),
    )


def an_undrain(scene: Scene) -> Work:
    scene.drain()
    return scene.work(
        scene.undrain,
        INSTRUCT_TASK,
        DISPATCH_TASK,
        is_done=lambda: [each.drain for each in scene.instructions()] == [False],
        sweep=lambda: scene.heartbeat(1, taking=False),
    )


def a_cancellation(scene: Scene) -> Work:
    made = scene.submit()
    [claim] = making.claimed(scene.owner)
    scene.heartbeat(running=[held(claim)])
    return scene.work(
        lambda: cancel(scene.owner, made.pk, actor=ACTOR, reason=""),
        INSTRUCT_TASK,
        is_done=lambda: [each.lost_leases for each in scene.instructions()] == [[claim.lease_token]],
        sweep=lambda: scene.heartbeat(1, running=[held(claim)]),
    )


def held(claim: Claim) -> HeldLease:
    return HeldLease(execution_id=claim.execution_id, lease_token=claim.lease_token, seconds=2)


WORKERS = [a_worker_that_comes, a_worker_without_an_order, the_end_of_a_drain, a_drain, an_undrain, a_cancellation]


def prepared(scene: Scene, of: Callable[[Scene], Work]) -> Work:
    scene.receiver.requests.clear()
    scene.receiver.statuses = [200]
    return of(scene)


@cases("of", [*EXECUTIONS, *ANSWERS, *WEBHOOKS, *WORKERS])
def test_a_wake_up_advances_the_work_immediately(scene: Scene, broker: Broker, of: Callable[[Scene], Work]) -> None:
    assert_moves_at_once(prepared(scene, of), broker)


@cases("of", [*EXECUTIONS, *ANSWERS, *WEBHOOKS, *WORKERS])
def test_the_sweep_finds_work_whose_wake_up_is_lost(scene: Scene, broker: Broker, of: Callable[[Scene], Work]) -> None:
    assert_found_by_the_sweep(prepared(scene, of), broker)
