"""Each wake-up for REST workers advances work immediately. If it is lost, the sweep finds the work."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from executions import tasks
from executions.lifecycle import rest_calls
from executions.models import Execution, Worker
from executions.transports.rest import calls
from executions.workers.eligibility import CHECK_TASK
from executions.workers.registry import DISPATCH_TASK, drain
from foundation.scheduling import places
from releases.activation import policy
from releases.activation.activation import activate
from releases.errors import WorkerRequired
from tests.cases import cases
from tests.executions import moments
from tests.executions.transports.rest.order_flow import PIPELINE, Flow, submit
from tests.few_places import limited
from tests.wakeups import SLACK_SECONDS, Broker, Work, assert_found_by_the_sweep, assert_moves_at_once, broker

__all__ = ["broker"]
pytestmark = pytest.mark.django_db
ACTOR = "user:ann"


def call(flow: Flow, cause: Callable[[], object], *wakeups: str) -> Work:
    """Return work that is done once a worker has run the execution `key` up to its await."""

    def is_done() -> bool:
        return Execution.objects.get(tenant=flow.owner, execution_key="key").status == "WAITING_EXTERNAL"

    return Work(cause, list(wakeups), is_done, tasks.sweep)


def a_registration_for_waiting_work(flow: Flow) -> Work:
    submit(flow, "key")
    drain(flow.owner, PIPELINE, "java-1", actor=ACTOR)
    return call(flow, lambda: flow.register("java-2"), CHECK_TASK, DISPATCH_TASK)


def an_activation_without_a_verdict(flow: Flow) -> Work:
    policy.change(flow.release.pipeline, {"workerGate": "require"}, actor=ACTOR)
    worker = Worker.objects.filter(pk=flow.worker.pk)
    worker.update(capability_checked_at=None, capability_claimed_at=None)

    def refused() -> None:
        with pytest.raises(WorkerRequired):
            activate(flow.release, actor=ACTOR)

    return Work(refused, [CHECK_TASK], lambda: worker.get().capability_checked_at is not None, tasks.sweep)


def a_worker_that_may_not_be_called_any_more(flow: Flow) -> Work:
    submit(flow, "key")
    claim = flow.claim()
    flow.register("java-2")
    drain(flow.owner, PIPELINE, "java-1", actor=ACTOR)
    return call(flow, lambda: flow.call(claim), DISPATCH_TASK)


def the_end_of_a_call(flow: Flow) -> Work:
    Worker.objects.filter(pk=flow.worker.pk).update(capacity=1)
    submit(flow, "first")
    claim = flow.claim()
    submit(flow, "key")
    return call(flow, lambda: flow.call(claim), DISPATCH_TASK)


ALL = [
    a_registration_for_waiting_work,
    an_activation_without_a_verdict,
    a_worker_that_may_not_be_called_any_more,
    the_end_of_a_call,
]


@cases("of", ALL)
def test_a_wake_up_advances_the_work_immediately(flow: Flow, broker: Broker, of: Callable[[Flow], Work]) -> None:
    assert_moves_at_once(of(flow), broker)


@cases("of", ALL)
def test_the_sweep_finds_work_whose_wake_up_is_lost(flow: Flow, broker: Broker, of: Callable[[Flow], Work]) -> None:
    assert_found_by_the_sweep(of(flow), broker)


@cases(("waits", "seconds"), [(0, 0.25), (2, 1), (10_000, 4)])
def test_a_call_without_a_place_waits_longer_and_longer(flow: Flow, broker: Broker, waits: int, seconds: float) -> None:
    submit(flow, "key")
    claim = flow.claim(lease_seconds=1)

    def crowded() -> None:
        with limited(places.CALLS, 1), places.CALLS.hold():
            rest_calls.run(claim.execution_id, claim.lease_token, waits)

    before = timezone.now()
    [message] = broker.after(crowded)
    assert message.arguments == [str(claim.execution_id), str(claim.lease_token), waits + 1]
    assert message.eta is not None
    wait = datetime.fromisoformat(message.eta) - before
    assert timedelta(seconds=seconds) <= wait < timedelta(seconds=seconds + SLACK_SECONDS)
    lease = Execution.objects.get(pk=claim.execution_id).lease_expires_at
    assert lease is not None
    assert lease - moments.now() > timedelta(seconds=calls.lease_seconds() / 2)
