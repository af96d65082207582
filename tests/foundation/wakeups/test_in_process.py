"""A bell that is answered in the process where it is rung: at once, once for many, and by others where that fails."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from django.conf import settings
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks
from redis import Redis

from embedded.product import PROJECT
from foundation.wakeups import wakeup
from foundation.wakeups.in_process import Answering
from tests.broker import taken
from tests.building import eventually
from tests.wakeups import Broker, broker

__all__ = ["broker"]

SOON = 5.0
# A process that ends while an answer is under way and another bell has been rung. The web's are forked ones.
PROCESS = """
import multiprocessing, sys, threading, time
from django.conf import settings
from foundation.wakeups.in_process import Answering

settings.configure()
begun = threading.Event()

def answer():
    begun.set()
    time.sleep(0.3)
    print("answered", flush=True)

def ring():
    answering = Answering(answer, failed=lambda: print("failed"))
    answering.wake()
    begun.wait()
    answering.wake()

def serve():
    request = threading.Thread(target=ring, daemon=True)
    request.start()
    request.join()

if sys.argv[1] == "ordinary":
    serve()
else:
    child = multiprocessing.get_context("fork").Process(target=serve)
    child.start()
    child.join()
"""


@pytest.fixture
def answers() -> list[float]:
    """When each answer began."""
    return []


@pytest.fixture
def gate() -> threading.Event:
    """Answers end when it is open."""
    return threading.Event()


@pytest.fixture
def answering(answers: list[float], gate: threading.Event) -> Iterator[Answering]:
    def answer() -> None:
        answers.append(time.monotonic())
        gate.wait(SOON)

    made = Answering(answer, failed=lambda: None)
    yield made
    gate.set()
    made.close()


def test_no_thread_is_started_before_the_first_bell(answering: Answering) -> None:
    assert not answering.is_alive()


def test_bells_that_are_rung_meanwhile_are_answered_by_one(
    answering: Answering, answers: list[float], gate: threading.Event
) -> None:
    answering.wake()
    eventually(lambda: answers, what="the first answer")
    for _ in range(50):
        answering.wake()
    gate.set()
    eventually(lambda: len(answers) == 2, what="the second answer")
    time.sleep(0.2)
    assert len(answers) == 2


def test_after_an_answer_it_rests_although_bells_ring() -> None:
    """The next answer finds the work of all bells that ring during the rest."""
    answers: list[tuple[float, float]] = []

    def answer() -> None:
        began = time.monotonic()
        time.sleep(0.01)
        ringing.wake()
        answers.append((began, time.monotonic()))

    ringing = Answering(answer, failed=lambda: None)
    ringing.wake()
    eventually(lambda: len(answers) >= 4, what="the fourth answer")
    ringing.close()
    rests = [began - ended for (_, ended), (began, _) in pairwise(answers[:4])]
    assert min(rests) > 0.02


def test_waking_never_waits_for_an_answer(answering: Answering, answers: list[float], gate: threading.Event) -> None:
    answering.wake()
    eventually(lambda: answers, what="the first answer")
    answering.wake()
    assert not gate.is_set()


def test_closing_answers_once_more_whatever_was_rung(
    answering: Answering, answers: list[float], gate: threading.Event
) -> None:
    answering.wake()
    eventually(lambda: answers, what="the answer")
    answering.wake()
    gate.set()
    answering.close()
    assert len(answers) == 2
    assert not answering.is_alive()


@pytest.mark.parametrize("way", ["ordinary", "forked"])
def test_a_process_ends_after_the_last_answer(way: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PROCESS, way]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("answered\n" * 2, "")


def test_what_cannot_be_answered_here_is_handed_on_and_the_next_bell_is_answered() -> None:
    handed_on: list[str] = []
    tries: list[int] = []

    def answer() -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise RuntimeError("the database is away")

    made = Answering(answer, failed=lambda: handed_on.append("rung elsewhere"))
    made.wake()
    eventually(lambda: handed_on, what="the message to others")
    made.wake()
    eventually(lambda: len(tries) == 2, what="the second answer")
    made.close()
    assert handed_on == ["rung elsewhere"]


@pytest.mark.django_db
def test_a_task_that_is_answered_here_is_not_sent(
    name: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    answered = threading.Event()
    task = f"tests.{name}"
    wakeup.answer_here(task, answered.set)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        wakeup.ring_once(task)
        assert not answered.is_set()  # not before the commit
    assert answered.wait(SOON)
    with Redis.from_url(settings.CELERY_BROKER_URL) as broker:
        assert list(broker.scan_iter(f"*{task}*")) == []


@pytest.mark.django_db
def test_a_delayed_wake_up_is_sent_although_the_task_is_answered_here(name: str, broker: Broker) -> None:
    """The process may no longer run when the wake-up is due."""
    answered = threading.Event()
    wakeup.answer_here(f"tests.{name}", answered.set)
    with broker.commits(execute=True):
        wakeup.ring_once(f"tests.{name}", delay=timedelta(seconds=20))
    assert taken("control") == [(f"tests.{name}", [])]
    assert not answered.is_set()


@pytest.mark.django_db
def test_a_wake_up_that_cannot_be_answered_here_is_sent(name: str, broker: Broker) -> None:
    failures = [RuntimeError("the database is away")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    wakeup.answer_here(f"tests.{name}", fail_once)
    with broker.commits(execute=True):
        wakeup.ring_once(f"tests.{name}")
    assert eventually(lambda: taken("control"), what="the message") == [(f"tests.{name}", [])]
