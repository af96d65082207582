"""The bell: rung after the commit and never before it, and no burden to the caller where the broker is down."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks
from redis import Redis

from executions.awaits.awaits import EXPIRE_TASK
from executions.transports.rest.capabilities import CHECK_TASK
from executions.workers.registry import DISPATCH_TASK
from foundation.wakeups import wakeup
from tests import making
from tests.wakeups import LATER, Broker, broker, names

__all__ = ["broker"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def task(name: str) -> str:
    """A task that no worker has."""
    return f"tests.{name}"


@pytest.mark.parametrize("ring", [wakeup.ring, wakeup.ring_once])
def test_what_is_rolled_back_is_not_rung(
    task: str, ring: Callable[..., None], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as rung:
        with transaction.atomic():
            ring(task)
            transaction.set_rollback(True)
        with transaction.atomic():
            ring(task)
    assert len(rung) == 1


@pytest.mark.parametrize(
    ("delay", "rings"), [(None, 1), (timedelta(), 1), (timedelta(seconds=55), 1), (timedelta(seconds=56), 0)]
)
def test_a_long_delay_is_left_to_the_sweep(
    task: str, delay: timedelta | None, rings: int, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        wakeup.ring(task, delay=delay)
    assert len(rung) == rings


@pytest.mark.usefixtures("broken_broker")
def test_a_broken_broker_is_logged_and_neither_raised_nor_waited_for(
    task: str, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    owner, _ = making.ready()
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), django_capture_on_commit_callbacks(execute=True):
        wakeup.ring(task)
        execution = making.execution(owner)
    assert time.monotonic() - began < 4
    assert "The broker refuses messages" in caplog.text
    assert execution.status == "QUEUED"


def dispatches(count: int = 1) -> None:
    for _ in range(count):
        wakeup.ring_once(DISPATCH_TASK)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an unanswered message suppress others for the whole test."""
    monkeypatch.setattr(wakeup, "PATIENCE", timedelta(hours=1))


@pytest.mark.usefixtures("patient")
def test_one_message_serves_all_until_its_task_begins(broker: Broker) -> None:
    assert names(broker.after(partial(dispatches, 3))) == [DISPATCH_TASK]
    with broker.commits(execute=True):
        dispatches()
    assert broker.sent() == []
    wakeup.answered(DISPATCH_TASK)
    with broker.commits(execute=True):
        dispatches()
    assert names(broker.sent()) == [DISPATCH_TASK]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("task", [DISPATCH_TASK, EXPIRE_TASK, CHECK_TASK])
def test_a_task_that_has_begun_can_be_announced_again(broker: Broker, task: str) -> None:
    broker.deliver(broker.after(partial(wakeup.ring_once, task)))
    with broker.commits(execute=True):
        wakeup.ring_once(task)
    assert names(broker.sent()) == [task]


def test_a_message_for_one_task_holds_back_no_other(broker: Broker) -> None:
    def both() -> None:
        wakeup.ring_once(EXPIRE_TASK)
        wakeup.ring_once(DISPATCH_TASK)

    assert names(broker.after(both)) == [DISPATCH_TASK, EXPIRE_TASK]


def test_messages_for_other_times_are_all_sent(broker: Broker) -> None:
    def three() -> None:
        for seconds in (0, 1, 5):
            wakeup.ring_once(DISPATCH_TASK, delay=timedelta(seconds=seconds))

    assert names(broker.after(three)) == [DISPATCH_TASK, DISPATCH_TASK + LATER, DISPATCH_TASK + LATER]


@pytest.mark.parametrize("ring", [wakeup.ring, wakeup.ring_once])
@pytest.mark.parametrize("seconds", [0.9, 1, 1.1, 7.3, 55])
def test_a_delayed_message_is_due_when_its_work_is(broker: Broker, ring: Callable[..., None], seconds: float) -> None:
    delay, before = timedelta(seconds=seconds), timezone.now()
    [message] = broker.after(partial(ring, DISPATCH_TASK, delay=delay))
    assert message.eta is not None
    assert before + delay <= datetime.fromisoformat(message.eta) <= timezone.now() + delay + wakeup.SLOT


@pytest.mark.parametrize("seconds", [0, 20])
def test_a_message_that_nobody_receives_holds_others_back_for_a_second_at_most(broker: Broker, seconds: int) -> None:
    broker.after(partial(wakeup.ring_once, DISPATCH_TASK, delay=timedelta(seconds=seconds)))
    with Redis.from_url(broker.url) as redis:
        [mark] = redis.scan_iter("bell:*")
        assert seconds * 1000 < redis.pttl(mark) <= (seconds + 1) * 1000
