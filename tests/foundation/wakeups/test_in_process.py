"""Wake-ups that the sending process handles itself: at once, one call for many, and a message if the call fails."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest

from foundation.wakeups import wakeup
from foundation.wakeups.in_process import WakeupThread
from tests.broker import taken
from tests.building import eventually
from tests.wakeups import Broker, broker

__all__ = ["broker"]

SOON = 5.0


@pytest.fixture
def calls() -> list[float]:
    """When each call of the handler began."""
    return []


@pytest.fixture
def gate() -> threading.Event:
    """The calls return once this event is set."""
    return threading.Event()


@pytest.fixture
def wakeups(calls: list[float], gate: threading.Event) -> Iterator[WakeupThread]:
    def handle() -> None:
        calls.append(time.monotonic())
        gate.wait(SOON)

    made = WakeupThread(handle, failed=lambda: None)
    yield made
    gate.set()
    made.close()


def test_one_call_handles_all_wake_ups_during_a_call_and_none_of_them_waits(
    wakeups: WakeupThread, calls: list[float], gate: threading.Event
) -> None:
    assert not wakeups.is_alive()
    wakeups.wake()
    eventually(lambda: calls, what="the first call")
    for _ in range(50):
        wakeups.wake()
    assert not gate.is_set()
    gate.set()
    eventually(lambda: len(calls) == 2, what="the second call")
    time.sleep(0.2)
    assert len(calls) == 2


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


@pytest.mark.django_db
def test_a_delayed_wake_up_is_sent_even_if_the_process_handles_the_task(name: str, broker: Broker) -> None:
    """The process may no longer run when the wake-up is due."""
    handled = threading.Event()
    wakeup.handle_here(f"tests.{name}", handled.set)
    with broker.commits(execute=True):
        wakeup.send_once(f"tests.{name}", delay=timedelta(seconds=20))
    assert taken("control") == [(f"tests.{name}", [])]
    assert not handled.is_set()


@pytest.mark.django_db
def test_a_wake_up_whose_call_fails_is_sent(name: str, broker: Broker) -> None:
    failures = [RuntimeError("the database is unavailable")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    wakeup.handle_here(f"tests.{name}", fail_once)
    with broker.commits(execute=True):
        wakeup.send_once(f"tests.{name}")
    assert eventually(lambda: taken("control"), what="the message") == [(f"tests.{name}", [])]
