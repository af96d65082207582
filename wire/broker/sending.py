"""Sends messages to the broker, in a fraction of the time of Celery and kombu, and takes tickets."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from celery import current_app
from kombu.exceptions import OperationalError

from wire.broker.client import Channel, Transport
from wire.documents import json_writer
from wire.messages.task_messages import NOTHING_FOLLOWS

_channels: WeakKeyDictionary[Any, Channel] = WeakKeyDictionary()
"""The channel of each pool of connections of Celery with which this process sends."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Allows one worker to run the commands of one message. Expires `seconds` after it was sent."""

    name: str
    seconds: float


def send(task: str, argument: Any, *, queue: str, ticket: Ticket | None = None) -> None:
    """Send a task of one argument to the queue of that name. If the message has a ticket, store the ticket first.

    Takes a fraction of the time of `Celery.send_task`, for frequent messages. Raises kombu's `OperationalError` or
    OSError if the broker does not accept the message. It may have accepted the message all the same, so the ticket is
    then removed if possible.
    """
    with _removed_if_refused(ticket), _connected() as channel:
        channel.exchange(*_commands(channel, task, argument, queue, ticket))


def post(task: str, argument: Any, *, queue: str, ticket: Ticket) -> Callable[[], None] | None:
    """Write a small message as `send` does, and return a function that waits for the answer and raises as `send` does.

    Waits for nothing itself. Return None if the message has to be sent: it is large, or no connection is open.
    """
    channel = _channels.get(current_app.pool)
    answers = None if channel is None else channel.post(*_commands(channel, task, argument, queue, ticket))
    if answers is None:
        return None

    def wait() -> None:
        with _removed_if_refused(ticket), _connected():
            answers()

    return wait


def _commands(channel: Channel, task: str, argument: Any, queue: str, ticket: Ticket | None) -> list[tuple[Any, ...]]:
    push = "LPUSH", queue, _text(channel, task, argument, queue)
    if ticket is None:
        return [push]
    return [("SET", ticket.name, "", "PX", max(int(ticket.seconds * 1000), 1)), push]


@contextmanager
def _removed_if_refused(ticket: Ticket | None) -> Iterator[None]:
    try:
        yield
    except (OperationalError, OSError):
        if ticket is not None:
            with suppress(OperationalError, OSError):
                take_ticket(ticket.name)
        raise


def take_ticket(name: str) -> bool:
    """Take the ticket of that name. Return False if another worker has taken it, or if it has expired.

    Raises kombu's `OperationalError` if the broker is unavailable.
    """
    with _connected() as channel:
        return channel.exchange(("GETDEL", name)) != [None]


def length(queue: str) -> int:
    """Return how many messages wait in the queue. Raises as `take_ticket` does."""
    with _connected() as channel:
        return int(channel.sender().llen(queue))


def send_latest(task: str, argument: Any, *, queue: str, seconds: float) -> None:
    """Send a message that replaces all messages in `queue`, and expires after `seconds`.

    So at most one message waits there, even if no consumer reads the queue. Raises as `send` does.
    """
    with _connected() as channel, channel.sender().pipeline(transaction=True) as pipe:
        text = _text(channel, task, argument, queue)
        pipe.lpush(queue, text).ltrim(queue, 0, 0).pexpire(queue, int(seconds * 1000)).execute()


def send_if_empty(task: str, argument: Any, *, queue: str, seconds: float) -> None:
    """Send a message that expires after `seconds`, unless others wait in `queue`. Raises as `send` does."""
    with _connected() as channel:
        text = _text(channel, task, argument, queue)
        channel.sender().transaction(partial(_push_if_empty, queue, text, int(seconds * 1000)), queue)


def _push_if_empty(queue: str, text: bytes, milliseconds: int, pipe: Any) -> None:
    waiting = pipe.exists(queue)
    pipe.multi()
    if not waiting:
        pipe.lpush(queue, text).pexpire(queue, milliseconds)


def _text(channel: Channel, task: str, argument: Any, queue: str) -> bytes:
    body = json_writer.text([[argument], {}, NOTHING_FOLLOWS]).encode()
    return channel.messages.write(queue, {"task": task, "eta": None, "expires": None, "retries": 0}, body)


@contextmanager
def _connected() -> Iterator[Channel]:
    """Provide the channel with which all threads of this process send. A lost connection raises `OperationalError`."""
    pool: Any = current_app.pool
    try:
        channel = _channels.get(pool)
        if channel is None or channel.connection is None:
            # Not one of the pool's: kombu closes those, with their channel, when another borrower of theirs fails.
            connection: Any = current_app.connection_for_write()
            channel = _channels[pool] = connection.default_channel
        yield channel
    except Transport.connection_errors + Transport.channel_errors as error:
        raise OperationalError(str(error)) from error
