"""The leases that a worker holds: from when it has a command until its answer is on its way."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from executions.protocol import Command, HeldLease
from pipelines.failures import warn

REMEMBERED = 50_000


@dataclass(slots=True)
class _Lease:
    """One lease. A command that no thread has begun by `begin_by` is given back."""

    execution_id: uuid.UUID
    begin_by: float
    running: bool = False

    def is_overdue(self, now: float) -> bool:
        return not self.running and now > self.begin_by


class HeldLeases:
    """Safe to use from many threads. One execution may be held under two leases: it was lost, and came again.

    A command that waits for a thread is held for as long as its lease lasts, and no longer: the threads may be busy
    for ever. It is then given back, which means that its lease runs out and another worker gets the execution.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, _Lease] = {}  # by lease token
        self._seen: OrderedDict[uuid.UUID, None] = OrderedDict()

    def take(self, commands: Iterable[Command]) -> list[Command]:
        """Hold the leases of those commands that are new, and return these.

        One whose lease was seen before came in a message that was delivered twice, or replayed.
        """
        new, repeated = [], []
        now = time.monotonic()
        with self._lock:
            for command in commands:
                if command.lease_token in self._seen:
                    repeated.append(command)
                    continue
                self._seen[command.lease_token] = None
                self._held[command.lease_token] = _Lease(command.execution_id, now + command.lease_seconds)
                new.append(command)
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        for command in repeated:
            warn("Dropped a repeated command for execution %s", command.execution_id)
        return new

    def begin(self, token: uuid.UUID) -> bool:
        """Note that a thread begins the transition. False if its command was given back: it must not run."""
        with self._lock:
            lease = self._held.get(token)
            if lease is None or lease.is_overdue(time.monotonic()):
                return False
            lease.running = True
            return True

    def drop(self, tokens: Iterable[uuid.UUID]) -> None:
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def held(self) -> list[HeldLease]:
        """What is held at this moment; what has waited too long is given back first."""
        now = time.monotonic()
        with self._lock:
            overdue = {token: lease for token, lease in self._held.items() if lease.is_overdue(now)}
            for token in overdue:
                del self._held[token]
            held = [HeldLease(execution_id=each.execution_id, lease_token=token) for token, each in self._held.items()]
        for lease in overdue.values():
            warn("Gave back execution %s: no thread was free for it in time", lease.execution_id)
        return held
