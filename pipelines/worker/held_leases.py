"""What a host knows of its transitions: the leases that it holds, and how long transitions take."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.failures import warn
from wire.messages.celery_messages import MOST_LEASES, Command, HeldLease

REMEMBERED = 50_000
"""How many lease tokens are kept to detect repeated commands."""


@dataclass(slots=True)
class _Lease:
    """One lease. ``since`` is when its transition began, or when its command arrived if no thread has begun it.

    A command that no thread has begun by ``begin_by`` is dropped. Both are times of the monotonic clock.
    """

    execution_id: uuid.UUID
    since: float
    begin_by: float
    running: bool = False
    ended: bool = False  # its outcome waits to be sent
    lost: bool = False

    def is_overdue(self, now: float) -> bool:
        return not self.running and now > self.begin_by


@dataclass(frozen=True, slots=True)
class LeasesInUse:
    """The leases in use: of running transitions, and of commands that wait for a thread.

    Each list has at most MOST_LEASES entries, the oldest, because a heartbeat cannot name more. The leases of the
    others expire. ``running`` includes transitions that have ended and whose outcomes wait to be sent. ``active`` is
    the number of threads that run a transition under its lease, ``abandoned`` that of threads whose lease is lost.
    """

    running: list[HeldLease]
    waiting: list[HeldLease]
    active: int
    abandoned: int


class HeldLeases:
    """Safe to use from many threads. A lost execution may return, so one execution may be held under two leases.

    A command that waits for a thread is held only until its lease expires, because the threads may be busy permanently.
    Then it is dropped, and another worker gets the execution.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, _Lease] = {}  # by lease token
        self._known: OrderedDict[uuid.UUID, None] = OrderedDict()

    def take(self, commands: Iterable[Command]) -> list[Command]:
        """Hold the leases of those commands that are new, and return these commands.

        A command with a known lease token came in a message that was delivered twice, or replayed. It is dropped.
        """
        new, repeated = [], []
        now = time.monotonic()
        with self._lock:
            for command in commands:
                if command.lease_token in self._known:
                    repeated.append(command)
                    continue
                self._known[command.lease_token] = None
                self._held[command.lease_token] = _Lease(command.execution_id, now, now + command.lease_seconds)
                new.append(command)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        for command in repeated:
            warn("Dropped a repeated command for execution %s", command.execution_id)
        return new

    def begin(self, token: uuid.UUID) -> bool:
        """Record that a thread begins the transition. Return False if its lease is not held or has expired."""
        now = time.monotonic()
        with self._lock:
            lease = self._held.get(token)
            if lease is None or lease.is_overdue(now):
                return False
            lease.running, lease.since = True, now
            return True

    def lose(self, tokens: Iterable[uuid.UUID]) -> None:
        """Record that these leases are lost. Commands that no thread has begun are dropped at once."""
        lost = []
        with self._lock:
            for token in tokens:
                lease = self._held.get(token)
                if lease is None:
                    continue  # it has ended already
                lost.append(lease)
                if lease.running:
                    lease.lost = True
                else:
                    del self._held[token]
        for lease in lost:
            warn("The lease of execution %s is lost: its outcome does not count", lease.execution_id)

    def is_lost(self, token: uuid.UUID) -> bool:
        """Return True if the lease is held but lost. Takes no lock, because steps may call it often."""
        lease = self._held.get(token)
        return lease is not None and lease.lost

    def end(self, token: uuid.UUID) -> bool:
        """Record that the thread has ended the transition. Return True if the lease is lost."""
        with self._lock:
            lease = self._held.get(token)
            if lease is None:
                return False
            lease.ended = True
            return lease.lost

    def drop(self, tokens: Iterable[uuid.UUID]) -> None:
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def in_use(self) -> LeasesInUse:
        """Return the leases in use now. Drops the commands whose leases expired before a thread began them."""
        now = time.monotonic()
        with self._lock:
            overdue = {token: lease for token, lease in self._held.items() if lease.is_overdue(now)}
            for token in overdue:
                del self._held[token]
            held = list(self._held.items())
        for lease in overdue.values():
            warn(
                "Dropped the command for execution %s: no thread was free before its lease expired", lease.execution_id
            )
        counting = [(token, lease) for token, lease in held if not lease.lost]
        running = [_held(token, lease, now) for token, lease in counting if lease.running]
        waiting = [_held(token, lease, now) for token, lease in counting if not lease.running]
        active = sum(lease.running and not lease.ended and not lease.lost for _, lease in held)
        abandoned = sum(lease.lost and not lease.ended for _, lease in held)
        return LeasesInUse(running[:MOST_LEASES], waiting[:MOST_LEASES], active, abandoned)


def _held(token: uuid.UUID, lease: _Lease, now: float) -> HeldLease:
    return HeldLease(execution_id=lease.execution_id, lease_token=token, seconds=max(now - lease.since, 0.0))


NEWEST_WEIGHT = 0.2
"""The weight of the newest transition in the moving average."""
NOTABLE_FACTOR = 2.0
"""If the average changes by this factor, a heartbeat is sent early."""
QUIET_SECONDS = 0.2
"""The shortest time between two such heartbeats."""


class Pace:
    """The seconds that a transition takes: a moving average, or the time of a running one that already took longer.

    A running transition stops counting once a later one has ended, because it is an exception and may never end. One
    whose lease is lost never counts. Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._average: float | None = None
        self._running: dict[object, tuple[float, Callable[[], bool]]] = {}  # when each began, and whether it is lost
        self._overtaken = 0.0  # running transitions that began before this do not count
        self._last_reported: float | None = None
        self._reported_at = 0.0

    @contextmanager
    def measured(self, is_lost: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
        """Time a transition. Yields a function that returns True, afterwards, if the average has changed notably."""
        began = time.monotonic()
        key = object()
        with self._lock:
            self._running[key] = (began, is_lost)
        try:
            yield self._is_notable
        finally:
            seconds = time.monotonic() - began
            with self._lock:
                del self._running[key]
                if not is_lost():
                    self._overtaken = max(self._overtaken, began)
                    before = seconds if self._average is None else self._average
                    self._average = before + NEWEST_WEIGHT * (seconds - before)

    def report(self) -> float | None:
        """Return the seconds per transition and record that they are reported. None until they are known."""
        now = time.monotonic()
        with self._lock:
            counting = [began for began, is_lost in self._running.values() if began > self._overtaken and not is_lost()]
            oldest = now - min(counting, default=now)
            average = self._average
            seconds = oldest if average is None and oldest > QUIET_SECONDS else average
            if seconds is not None:
                seconds = max(seconds, oldest)
            self._last_reported, self._reported_at = seconds, now
            return seconds

    def _is_notable(self) -> bool:
        with self._lock:
            if self._average is None or time.monotonic() - self._reported_at < QUIET_SECONDS:
                return False
            last = self._last_reported
            return last is None or not last / NOTABLE_FACTOR <= self._average <= last * NOTABLE_FACTOR
