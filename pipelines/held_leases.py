"""The leases under which a worker runs transitions: from when it has a command until its answer is on its way."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from executions.protocol import Command, HeldLease

log = logging.getLogger(__name__)
REMEMBERED = 50_000


@dataclass(slots=True)
class _Lease:
    """One lease. ``since`` is when its transition began, or when its command came if no thread has begun it."""

    execution_id: uuid.UUID
    since: float = field(default_factory=time.monotonic)
    running: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class InHand:
    """What a worker holds: transitions that run, commands that wait for a thread, and threads with lost leases."""

    running: list[HeldLease]
    waiting: list[HeldLease]
    abandoned: int


class HeldLeases:
    """Safe to use from many threads. One execution may be held under two leases: it was lost, and came again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, _Lease] = {}  # by lease token
        self._seen: OrderedDict[uuid.UUID, None] = OrderedDict()

    def take(self, commands: Iterable[Command]) -> list[Command]:
        """Hold the leases of those commands that are new, and return these.

        One whose lease was seen before came in a message that was delivered twice, or replayed.
        """
        new = []
        with self._lock:
            for command in commands:
                if command.lease_token in self._seen:
                    log.warning("Dropped a repeated command for execution %s", command.execution_id)
                    continue
                self._seen[command.lease_token] = None
                self._held[command.lease_token] = _Lease(command.execution_id)
                new.append(command)
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return new

    def begin(self, token: uuid.UUID) -> bool:
        """Note that a thread begins the transition. Returns False if the lease was lost meanwhile: do not run it."""
        with self._lock:
            lease = self._held.get(token)
            if lease is None:
                return False
            lease.running, lease.since = True, time.monotonic()
            return True

    def lose(self, tokens: Iterable[uuid.UUID]) -> None:
        """Note that these leases no longer count. Commands that no thread has begun are let go at once."""
        with self._lock:
            for token in tokens:
                lease = self._held.get(token)
                if lease is None:
                    continue  # it is over already
                log.warning("The lease of execution %s is lost: its outcome does not count", lease.execution_id)
                if lease.running:
                    lease.lost = True
                else:
                    del self._held[token]

    def is_lost(self, token: uuid.UUID) -> bool:
        """Return whether the lease is held but no longer counts. Cheap: steps may ask often."""
        lease = self._held.get(token)
        return lease is not None and lease.lost

    def drop(self, tokens: Iterable[uuid.UUID]) -> bool:
        """Hold these no longer. Returns True if one of them was lost, so that its thread is free again."""
        with self._lock:
            dropped = [self._held.pop(token, None) for token in tokens]
        return any(lease is not None and lease.lost for lease in dropped)

    def in_hand(self) -> InHand:
        """What is held at this moment."""
        now = time.monotonic()
        running: list[HeldLease] = []
        waiting: list[HeldLease] = []
        abandoned = 0
        with self._lock:
            for token, lease in self._held.items():
                if lease.lost:
                    abandoned += 1
                    continue
                held = HeldLease(
                    execution_id=lease.execution_id, lease_token=token, seconds=max(now - lease.since, 0.0)
                )
                (running if lease.running else waiting).append(held)
        return InHand(running, waiting, abandoned)
