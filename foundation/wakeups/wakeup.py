"""Sends wake-ups: messages that announce work which a committed row already describes.

A lost wake-up delays work and never loses it, because the sweep finds the row. So a broker that refuses a wake-up is
never an error to the caller (see `broker_gate`).
"""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import transaction
from redis import Redis

from foundation.wakeups.broker_gate import gate
from foundation.wakeups.in_process import WakeupThread
from wire.broker import sentinel
from wire.broker_url import kombu_url

_handlers: dict[str, WakeupThread] = {}
# The due time is a column. A message waits for it only if the broker holds the message for less than a minute.
LONGEST_DELAY = timedelta(seconds=55)
WAKEUP_TIMEOUT = timedelta(seconds=1)
"""How long a due message that no worker receives suppresses others of its task. Its worker may have died."""
SLOT = timedelta(milliseconds=250)


def send(task: str, *arguments: Any, delay: timedelta | None = None) -> None:
    """Send `task` after the current transaction commits; immediately outside of one. Never raises errors of the broker.

    With a `delay` above LONGEST_DELAY nothing is sent, because the sweep finds the row when it is due.
    """
    if delay is None or delay <= LONGEST_DELAY:
        transaction.on_commit(partial(_send, task, arguments, delay))


def send_once(task: str, *, delay: timedelta = timedelta()) -> None:
    """As `send`, for a task that processes all due work and calls `started` first: one message serves many callers.

    Of delayed messages, at most one is sent for each SLOT of time in which they are due.
    """
    if task in _handlers and not delay:
        transaction.on_commit(_handlers[task].wake)
    elif delay <= LONGEST_DELAY:
        transaction.on_commit(partial(_send_once, task, delay))


def handle_here(task: str, handler: Callable[[], object]) -> None:
    """Call `handler` in this process for each further `send_once` of `task` in it, instead of sending a message.

    If `handler` raises an error, the message is sent.
    """
    _handlers[task] = WakeupThread(handler, failed=partial(_send_once, task, timedelta()))


def started(task: str) -> None:
    """Let the next `send_once` of `task` send a message. The task calls this before it looks for work."""
    gate.send(partial(_redis().delete, _mark(task)))


def _send_once(task: str, delay: timedelta) -> None:
    slots = math.ceil((time.time() + delay.total_seconds()) / SLOT.total_seconds()) if delay else 0
    wait = timedelta(seconds=slots * SLOT.total_seconds() - time.time()) if delay else None

    def send() -> None:
        if _redis().set(_mark(task, slots), 1, nx=True, px=delay + WAKEUP_TIMEOUT):
            current_app.send_task(task, countdown=wait.total_seconds() if wait else None, retry=False)

    gate.send(send)


def _send(task: str, arguments: tuple[Any, ...], delay: timedelta | None) -> None:
    countdown = delay.total_seconds() if delay else None
    gate.send(partial(current_app.send_task, task, args=arguments, countdown=countdown, retry=False))


def _mark(task: str, slot: int = 0) -> str:
    """Return the key that exists while a message for `task` suppresses others."""
    return f"wakeup:{task}:{slot}"


def _redis() -> Redis:
    return _client(settings.CELERY_BROKER_URL)


@cache
def _client(url: str) -> Redis:
    # A test may name another server than the settings do.
    named = settings.REDIS_URL if url == kombu_url(settings.REDIS_URL) else url
    return sentinel.client(named, settings.BROKER_TLS, **settings.BROKER_TIMEOUTS)
