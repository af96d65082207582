"""Sends wake-ups: messages that announce work which a committed row already describes.

A lost wake-up delays work and never loses it, because the sweep finds the row. So a broker that refuses a wake-up is
never an error to the caller (see `broker_gate`). A process may also handle its wake-ups itself, in a separate thread.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import cache, partial
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import close_old_connections
from redis import Redis
from redis.sentinel import Sentinel

from foundation.broker_gate import gate
from foundation.database.writes import after_commit
from wire.addresses import is_sentinel, kombu_url, parse_sentinel, sentinel_options

log = logging.getLogger(__name__)
# After each call, the thread pauses for this multiple of the call's duration. So a single wake-up is handled
# immediately, and of many that arrive during a pause, one call finds the work of all.
PAUSE_FACTOR = 3.0
LONGEST_PAUSE = 0.05
SHUTDOWN_TIMEOUT = 5.0


class WakeupThread(threading.Thread):
    """Calls `handler` after each `wake`, once for all that arrive during a call. Calls `failed` if it raises an error.

    Before, it calls what `begin` has returned for each item of `hand`. When the process ends, it waits for the last
    calls, for at most SHUTDOWN_TIMEOUT seconds.
    """

    def __init__(
        self,
        handler: Callable[[], object],
        failed: Callable[[], None],
        begin: Callable[[Any], Callable[[], object]] = lambda item: lambda: None,
    ) -> None:
        super().__init__(name="wakeups", daemon=True)
        self._handler = handler
        self._failed = failed
        self._begin = begin
        self._begun: deque[Callable[[], object]] = deque()
        self._is_due = False
        self._waits = False
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._has_ended = False
        self._lock = threading.Lock()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    @property
    def is_idle(self) -> bool:
        """True while the thread waits: no call and no pause is running, and none was requested."""
        return self._waits and not self._woken.is_set() and not self.is_closed

    def wake(self) -> None:
        """Request a call of the handler. Never waits.

        The thread starts with the first request, so that it runs in a process that serves and not in its parent.
        """
        self._is_due = True
        if self._woken.is_set() and self.ident is not None:
            return  # the call that was requested before has not begun
        self._woken.set()
        if self.ident is not None:
            return
        with self._lock:
            if self.ident is None:
                self.start()
                threading.Thread(name="wakeups-shutdown", target=self._shut_down, daemon=False).start()

    def hand(self, item: Any) -> None:
        """Call `begin` with `item`, and let the thread call what it returns. If that has ended, this thread calls it.

        Raises nothing.
        """
        try:
            finish = self._begin(item)
        except Exception:
            log.exception("A wake-up could not be handed over")
            finish = self._failed
        with self._lock:
            has_ended = self._has_ended
            if not has_ended:
                self._begun.append(finish)
                self._woken.set()
        if has_ended:
            self._call(finish)

    def close(self) -> None:
        """Call the handler for the last time, and end the thread. Waits for at most SHUTDOWN_TIMEOUT seconds."""
        self._closed.set()
        self._is_due = True
        self._woken.set()
        if self.ident is not None:
            self.join(SHUTDOWN_TIMEOUT)

    def _shut_down(self) -> None:
        # A process waits for its threads when the main thread ends. `atexit` is not an alternative: children that
        # multiprocessing forks, such as web processes, do not call it.
        threading.main_thread().join()
        self.close()

    def run(self) -> None:
        while not self._has_ended:
            self._waits = True
            self._woken.wait()
            self._waits = False
            self._woken.clear()
            is_last = self._closed.is_set()
            began = time.monotonic()
            while self._begun:
                self._call(self._begun.popleft())
            if self._is_due:
                self._is_due = False
                self._call(self._handler)
            with self._lock:
                self._has_ended = is_last and not self._begun
            self._closed.wait(min(PAUSE_FACTOR * (time.monotonic() - began), LONGEST_PAUSE))

    def _call(self, call: Callable[[], object]) -> None:
        try:
            close_old_connections()
            call()
        except Exception:
            log.exception("A wake-up could not be handled in this process")
            self._failed()


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
        after_commit(partial(_send, task, arguments, delay))


def send_once(task: str, *, delay: timedelta = timedelta()) -> None:
    """As `send`, for a task that processes all due work and calls `started` first: one message serves many callers.

    Of delayed messages, at most one is sent for each SLOT of time in which they are due.
    """
    here = _handlers.get(task)
    if here is not None and not here.is_closed and not delay:
        after_commit(here.wake)
    elif delay <= LONGEST_DELAY:
        after_commit(partial(_send_once, task, delay))


def handle_here(
    task: str,
    handler: Callable[[], object],
    begin: Callable[[Any], Callable[[], object]] = lambda item: lambda: None,
) -> WakeupThread:
    """Call `handler` in this process for each further `send_once` of `task` in it, instead of sending a message.

    If `handler` raises an error, the message is sent. Each `hand_over` calls `begin`, which must not wait, and the same
    thread calls what it returns. Returns the thread, which handles wake-ups until it is closed.
    """
    thread = _handlers[task] = WakeupThread(handler, failed=partial(_send_once, task, timedelta()), begin=begin)
    return thread


def is_idle_here(task: str) -> bool:
    """Return True if this process handles the wake-ups of `task` itself, and its thread waits for one."""
    return task in _handlers and _handlers[task].is_idle


def hand_over(task: str, item: Any) -> None:
    """Begin with `item`, and let the thread of this process that handles the wake-ups of `task` do the rest."""
    _handlers[task].hand(item)


def started(task: str) -> None:
    """Let the next `send_once` of `task` send a message. The task calls this before it looks for work."""
    gate.send(partial(broker().delete, _mark(task)))


def _send_once(task: str, delay: timedelta) -> None:
    slots = math.ceil((time.time() + delay.total_seconds()) / SLOT.total_seconds()) if delay else 0
    wait = timedelta(seconds=slots * SLOT.total_seconds() - time.time()) if delay else None

    def send() -> None:
        if broker().set(_mark(task, slots), 1, nx=True, px=delay + WAKEUP_TIMEOUT):
            current_app.send_task(task, countdown=wait.total_seconds() if wait else None, retry=False)

    gate.send(send)


def _send(task: str, arguments: tuple[Any, ...], delay: timedelta | None) -> None:
    countdown = delay.total_seconds() if delay else None
    gate.send(partial(current_app.send_task, task, args=arguments, countdown=countdown, retry=False))


def _mark(task: str, slot: int = 0) -> str:
    """Return the key that exists while a message for `task` suppresses others."""
    return f"wakeup:{task}:{slot}"


def broker() -> Redis:
    """Return the client of the broker for commands other than messages."""
    return _client(settings.CELERY_BROKER_URL)


@cache
def _client(url: str) -> Redis:
    # A test may name another server than the settings do.
    named = settings.REDIS_URL if url == kombu_url(settings.REDIS_URL) else url
    if not is_sentinel(named):
        return Redis.from_url(named, **settings.BROKER_TIMEOUTS, **settings.BROKER_TLS)
    sentinels, options = parse_sentinel(named), sentinel_options(settings.BROKER_TLS, settings.BROKER_TIMEOUTS)
    untyped: Any = Sentinel
    # A client that looks the primary up again for each new connection.
    primary: Redis = untyped(sentinels.hosts, sentinel_kwargs=options).master_for(
        sentinels.name, db=sentinels.database, username=sentinels.user, password=sentinels.password, **options
    )
    return primary
