"""Wake-ups on the broker: reads which were sent, delivers them, or loses them. No worker and no clock runs."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import current_app
from django.utils import timezone
from redis import Redis

from executions.task_messages import TaskMessage
from tests.broker import owner_url, using_broker

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

    `cause` is the change that makes it due, and `wakeups` are the tasks of the messages that it sends; LATER after a
    task marks a delayed message, and `delays` are the delays in seconds. `is_done` returns True once the work has moved
    on. `age` lets so much time pass that delayed messages arrive and the sweep looks for lost work. `sweep` is what
    finds the work if all messages are lost.
    """

    cause: Callable[[], object]
    wakeups: list[str]
    is_done: Callable[[], bool]
    sweep: Callable[[], object]
    age: Callable[[], object] = field(default=nothing)
    delays: Sequence[float] = ()


@dataclass
class Broker:
    """A database of the broker that no running product reads."""

    url: str
    owner_url: str
    commits: Commits

    def sent(self) -> list[TaskMessage]:
        """Take all wake-ups, as a control worker accepts them."""
        app: Any = current_app
        app.loader.import_default_modules()
        reader = app.conf.broker_transport_options["messages"]
        found = []
        with Redis.from_url(self.url) as redis:
            for queue in QUEUES:
                while text := redis.rpop(queue):
                    found.append(reader.read(queue, text))
        return found

    def lose_all(self) -> None:
        """The broker loses everything, as one that was restarted without its data."""
        with Redis.from_url(self.owner_url) as redis:
            redis.flushdb()

    def deliver(self, messages: list[TaskMessage] | None = None) -> None:
        """Run the tasks of `messages`, or of all that were sent, and of those that follow. Delays are over."""
        due = self.sent() if messages is None else messages
        for _ in range(MOST_ROUNDS):
            if not due:
                return
            with self.commits(execute=True):
                for message in due:
                    current_app.tasks[message.task](*message.arguments)
            due = self.sent()
        raise AssertionError(f"the wake-ups never end: {due}")

    def after(self, change: Callable[[], object]) -> list[TaskMessage]:
        """Make a change and return the wake-ups that its commit sends."""
        self.lose_all()
        with self.commits(execute=True):
            change()
        return self.sent()


@pytest.fixture
def broker(settings: Any, django_capture_on_commit_callbacks: Commits) -> Iterator[Broker]:
    """The broker of the test, without the sweep and without workers."""
    number = (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) + 8) % 15
    url, owner = (
        urlunsplit(urlsplit(each)._replace(path=f"/{number}")) for each in (settings.CELERY_BROKER_URL, owner_url())
    )
    with using_broker(url):
        settings.CELERY_BROKER_URL = url  # after `using_broker` has read it
        made = Broker(url, owner, django_capture_on_commit_callbacks)
        made.lose_all()
        yield made
        made.lose_all()


def names(messages: list[TaskMessage]) -> list[str]:
    """The tasks of the messages, in alphabetical order; LATER marks those that are delayed."""
    return sorted(message.task + (LATER if message.eta else "") for message in messages)


def delays(messages: list[TaskMessage], since: datetime) -> list[float]:
    """The delays of the delayed messages in seconds, the shortest first."""
    return sorted((datetime.fromisoformat(each.eta) - since).total_seconds() for each in messages if each.eta)


def assert_moves_at_once(work: Work, broker: Broker) -> None:
    """The change sends the wake-ups, and these move the work. No sweep runs."""
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
    """All wake-ups are lost. The sweep moves the work."""
    broker.after(work.cause)
    assert not work.is_done()
    work.age()
    broker.lose_all()
    with broker.commits(execute=True):
        work.sweep()
    broker.deliver()
    assert work.is_done()
