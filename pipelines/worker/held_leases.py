"""The leases that a worker holds, from the arrival of a command until its outcome is sent."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.failures import warn
from wire.messages.celery_messages import Command, HeldLease
from wire.messages.limits import MOST_LEASES

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
        """Stop holding these leases."""
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
