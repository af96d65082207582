"""Reads, delivers or drops the wake-ups on a broker, without workers and a clock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from celery import current_app
from django.test import TestCase
from django.utils import timezone
from redis import Redis

from tests.broker import spare_urls, using_broker
from wire.messages.task_messages import TaskMessage

QUEUES = ("control", "webhooks", "rest", "artifacts")
MOST_ROUNDS = 20
LATER = " later"
SLACK_SECONDS = 8.0
Commits = Callable[..., AbstractContextManager[Any]]


def nothing() -> None:
    return


@dataclass
class Work:
    """Work that wake-ups announce.

    `cause` makes the work due. `wakeups` are the tasks of the messages that it sends; the suffix LATER marks a delayed
    message, and `delays` are the delays in seconds. `is_done` returns True once the work has progressed. `age` advances
    time until delayed messages are due and the sweep considers the work lost. `sweep` finds the work without messages.
    """

    cause: Callable[[], object]
    wakeups: list[str]
    is_done: Callable[[], bool]
    sweep: Callable[[], object]
    age: Callable[[], object] = field(default=nothing)
    delays: Sequence[float] = ()


@dataclass
class Broker:
    """A broker database that no running product reads."""

    url: str
    owner_url: str
    commits: Commits

    def sent(self) -> list[TaskMessage]:
        """Consume and return all wake-ups, decoded as a control worker decodes them."""
        app: Any = current_app
        reader = app.conf.broker_transport_options["messages"]
        messages = []
        with Redis.from_url(self.url) as redis:
            for queue in QUEUES:
                while text := redis.rpop(queue):
                    messages.append(reader.read(queue, text))
        return messages

    def lose_all(self) -> None:
        """Delete all data, like a restart without persistence."""
        with Redis.from_url(self.owner_url) as redis:
            redis.flushdb()

    def deliver(self, messages: list[TaskMessage] | None = None) -> None:
        """Run the tasks of `messages` (default: all that were sent) and of follow-up messages. Ignore delays."""
        due = self.sent() if messages is None else messages
        for _ in range(MOST_ROUNDS):
            if not due:
                return
            with self.commits(execute=True):
                for message in due:
                    current_app.tasks[message.task](*message.arguments)
            due = self.sent()
        raise AssertionError(f"wake-ups still follow after {MOST_ROUNDS} rounds: {due}")

    def after(self, change: Callable[[], object]) -> list[TaskMessage]:
        """Make a change and return the wake-ups that its commit sends."""
        self.lose_all()
        with self.commits(execute=True):
            change()
        return self.sent()


@contextmanager
def announced() -> Iterator[list[tuple[Any, ...]]]:
    """Collect the wake-ups that the block announces and a commit would send: the task, then its arguments and delay."""
    wakeups: list[tuple[Any, ...]] = []
    with TestCase.captureOnCommitCallbacks() as callbacks:
        yield wakeups
    wakeups += [callback.args for callback in callbacks if isinstance(callback, partial)]


@pytest.fixture
def broker(settings: Any, django_capture_on_commit_callbacks: Commits) -> Iterator[Broker]:
    """A broker without a sweep and without workers."""
    url, owner = spare_urls()
    with using_broker(url):
        settings.CELERY_BROKER_URL = url  # after `using_broker` has read it
        made = Broker(url, owner, django_capture_on_commit_callbacks)
        made.lose_all()
        yield made
        made.lose_all()


def names(messages: list[TaskMessage]) -> list[str]:
    """Return the tasks of the messages in alphabetical order. LATER marks delayed messages."""
    return sorted(message.task + (LATER if message.eta else "") for message in messages)


def delays(messages: list[TaskMessage], since: datetime) -> list[float]:
    """Return the delays of the delayed messages in seconds, shortest first."""
    return sorted((datetime.fromisoformat(message.eta) - since).total_seconds() for message in messages if message.eta)


def assert_moves_at_once(work: Work, broker: Broker) -> None:
    """Assert that the change sends the expected wake-ups, and that these complete the work without a sweep."""
    before = timezone.now()
    messages = broker.after(work.cause)
    assert names(messages) == sorted(work.wakeups)
    for expected, delay in zip(work.delays, delays(messages, before), strict=True):
        assert expected <= delay < expected + SLACK_SECONDS
    assert not work.is_done()
    work.age()
    broker.deliver(messages)
    assert work.is_done()


def assert_found_by_the_sweep(work: Work, broker: Broker) -> None:
    """Assert that the sweep completes the work if all wake-ups are lost."""
    broker.after(work.cause)
    assert not work.is_done()
    work.age()
    broker.lose_all()
    with broker.commits(execute=True):
        work.sweep()
    broker.deliver()
    assert work.is_done()
