"""A bell that is answered in the process where it is rung: at once, once for many, and by others where that fails."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from coordinator import bell
from coordinator.answering import Answering
from tests.building import eventually

SOON = 5.0


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


def test_waking_never_waits_for_an_answer(answering: Answering, answers: list[float], gate: threading.Event) -> None:
    answering.wake()
    eventually(lambda: answers, what="the first answer")
    answering.wake()
    assert not gate.is_set()


def test_the_answer_under_way_is_finished_at_the_end(answers: list[float]) -> None:
    finished = threading.Event()

    def answer() -> None:
        answers.append(0)
        time.sleep(0.3)
        finished.set()

    made = Answering(answer, failed=lambda: None)
    made.wake()
    eventually(lambda: answers, what="the answer")
    made.close()
    assert finished.is_set()
    assert not made.is_alive()


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
    name: str, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    answered = threading.Event()
    task = f"tests.{name}"
    monkeypatch.setattr(bell, "_here", {})
    bell.answer_here(task, answered.set)
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        bell.ring_once(task)
        assert not answered.is_set()  # not before the commit
    assert answered.wait(SOON)
    assert bell._redis().get(bell._mark(task)) is None
