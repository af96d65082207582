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
from foundation.wakeups.in_process import Answering

_here: dict[str, Answering] = {}
# The due time is a column; a message may wait for it only where the broker holds it for less than a minute.
LONGEST_DELAY = timedelta(seconds=55)
# How long one that nobody answers keeps others from ringing: whoever was to answer it may have died.
PATIENCE = timedelta(seconds=1)
SLOT = timedelta(milliseconds=250)


def ring(task: str, *arguments: Any, delay: timedelta | None = None) -> None:
    """Send `task` by name once the current transaction commits, at once outside of one. Never raises for the broker.

    With a `delay` beyond a minute nothing is sent: the sweep will see to the row when it is due.
    """
    if delay is None or delay <= LONGEST_DELAY:
        transaction.on_commit(partial(_send, task, arguments, delay))


def ring_once(task: str, *, delay: timedelta = timedelta()) -> None:
    """The same for a task that finds all work there is, and says so by `answered`: one bell does for many callers.

    Delayed bells are as many as there are SLOTs in which one is due.
    """
    if task in _here and not delay:
        transaction.on_commit(_here[task].wake)
    elif delay <= LONGEST_DELAY:
        transaction.on_commit(partial(_send_once, task, delay))


def answer_here(task: str, answer: Callable[[], object]) -> None:
    """From now on `answer` is called in this process for each `ring_once` of `task` in it; where it fails, a message
    goes to the others."""
    _here[task] = Answering(answer, failed=partial(_send_once, task, timedelta()))


def answered(task: str) -> None:
    """Whoever rings from now on is to be heard. For the task itself, before it looks for work."""
    gate.send(partial(_redis().delete, _mark(task)))


def _send_once(task: str, delay: timedelta) -> None:
    slots = math.ceil((time.time() + delay.total_seconds()) / SLOT.total_seconds()) if delay else 0
    wait = timedelta(seconds=slots * SLOT.total_seconds() - time.time()) if delay else None

    def send() -> None:
        if _redis().set(_mark(task, slots), 1, nx=True, px=delay + PATIENCE):
            current_app.send_task(task, countdown=wait.total_seconds() if wait else None, retry=False)

    gate.send(send)


def _send(task: str, arguments: tuple[Any, ...], delay: timedelta | None) -> None:
    countdown = delay.total_seconds() if delay else None
    gate.send(partial(current_app.send_task, task, args=arguments, countdown=countdown, retry=False))


def _mark(task: str, slot: int = 0) -> str:
    return f"bell:{task}:{slot}"


def _redis() -> Redis:
    return _client(settings.CELERY_BROKER_URL)


@cache
def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=2, socket_timeout=10, **settings.BROKER_TLS)
