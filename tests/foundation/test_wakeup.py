import itertools
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks
from redis import Redis

from executions.awaits.awaits import EXPIRE_TASK
from executions.workers.eligibility import CHECK_TASK
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.wakeup import WakeupThread
from tests.broker import taken
from tests.building import eventually
from tests.cases import cases
from tests.wakeups import Broker, broker, names

__all__ = ["broker"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def task(name: str) -> str:
    return f"tests.{name}"


@cases(("delay", "count"), [(None, 1), (timedelta(seconds=55), 1), (timedelta(seconds=56), 0)])
def test_a_long_delay_is_left_to_the_sweep(
    task: str, delay: timedelta | None, count: int, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as sent:
        wakeup.send(task, delay=delay)
    assert len(sent) == count


@cases("task", [DISPATCH_TASK, EXPIRE_TASK, CHECK_TASK])
def test_one_message_serves_all_until_a_task_begins(broker: Broker, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setattr(wakeup, "WAKEUP_TIMEOUT", timedelta(hours=1))  # longer than the test

    def send(count: int = 1) -> None:
        for _ in range(count):
            wakeup.send_once(task)

    messages = broker.after(partial(send, 3))
    assert names(messages) == [task]
    with broker.commits(execute=True):
        send()
    assert broker.sent() == []
    broker.deliver(messages)
    with broker.commits(execute=True):
        send()
    assert names(broker.sent()) == [task]


def test_messages_for_other_tasks_and_other_times_are_all_sent(broker: Broker) -> None:
    def announce() -> None:
        wakeup.send_once(EXPIRE_TASK)
        for seconds in (0, 1, 5):
            wakeup.send_once(DISPATCH_TASK, delay=timedelta(seconds=seconds))

    assert len(broker.after(announce)) == 4


@cases(("send", "seconds"), itertools.product([wakeup.send, wakeup.send_once], [0.9, 7.3]))
def test_a_delayed_message_is_due_when_its_work_is(broker: Broker, send: Callable[..., None], seconds: float) -> None:
    delay, before = timedelta(seconds=seconds), timezone.now()
    [message] = broker.after(partial(send, DISPATCH_TASK, delay=delay))
    assert message.eta is not None
    assert before + delay <= datetime.fromisoformat(message.eta) <= timezone.now() + delay + wakeup.SLOT


@cases("seconds", [0, 20])
def test_a_message_that_no_worker_receives_suppresses_others_for_a_second_at_most(broker: Broker, seconds: int) -> None:
    broker.after(partial(wakeup.send_once, DISPATCH_TASK, delay=timedelta(seconds=seconds)))
    with Redis.from_url(broker.url) as redis:
        [mark] = redis.scan_iter("wakeup:*")
        assert seconds * 1000 < redis.pttl(mark) <= (seconds + 1) * 1000


def test_one_call_handles_all_wake_ups_during_a_call_and_none_of_them_waits() -> None:
    calls: list[float] = []
    over = threading.Event()

    def handle() -> None:
        calls.append(time.monotonic())
        over.wait(5)

    wakeups = WakeupThread(handle, failed=lambda: None)
    try:
        assert not wakeups.is_alive()
        wakeups.wake()
        eventually(lambda: calls, what="the first call")
        for _ in range(50):
            wakeups.wake()
        assert not over.is_set()
        over.set()
        eventually(lambda: len(calls) == 2, what="the second call")
        time.sleep(0.2)
        assert len(calls) == 2
    finally:
        over.set()
        wakeups.close()


def test_the_thread_pauses_after_a_call_despite_wake_ups() -> None:
    """The next call finds the work of all wake-ups during the pause."""
    calls: list[tuple[float, float]] = []

    def handle() -> None:
        began = time.monotonic()
        time.sleep(0.01)
        thread.wake()
        calls.append((began, time.monotonic()))

    thread = WakeupThread(handle, failed=lambda: None)
    thread.wake()
    eventually(lambda: len(calls) >= 4, what="the fourth call")
    thread.close()
    pauses = [began - ended for (_, ended), (began, _) in pairwise(calls[:4])]
    assert min(pauses) > 0.02


def test_what_is_handed_over_is_taken_even_after_the_end() -> None:
    taken: list[str] = []
    calls: list[str] = []
    thread = WakeupThread(
        lambda: calls.append("call"), failed=lambda: None, begin=lambda item: partial(taken.append, item)
    )
    thread.wake()
    eventually(lambda: thread.is_idle, what="an idle thread")
    thread.hand("before")
    eventually(lambda: taken == ["before"] and thread.is_idle, what="the item")
    assert calls == ["call"], "an item is no wake-up"
    thread.close()
    thread.hand("after")
    assert taken == ["before", "after"]


def test_a_delayed_wake_up_is_sent_even_if_the_process_handles_the_task(name: str, broker: Broker) -> None:
    """The process may no longer run when the wake-up is due."""
    handled = threading.Event()
    wakeup.handle_here(f"tests.{name}", handled.set)
    with broker.commits(execute=True):
        wakeup.send_once(f"tests.{name}", delay=timedelta(seconds=20))
    assert taken("control") == [(f"tests.{name}", [])]
    assert not handled.is_set()


def test_a_wake_up_whose_call_fails_is_sent(name: str, broker: Broker) -> None:
    failures = [RuntimeError("the database is unavailable")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    wakeup.handle_here(f"tests.{name}", fail_once)
    with broker.commits(execute=True):
        wakeup.send_once(f"tests.{name}")
    assert eventually(lambda: taken("control"), what="the message") == [(f"tests.{name}", [])]
