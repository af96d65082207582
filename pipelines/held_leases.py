"""The leases under which a worker runs transitions: from when it has a command until its answer is on its way."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable

from executions.protocol import Command, HeldLease

log = logging.getLogger(__name__)
REMEMBERED = 50_000


class HeldLeases:
    """Safe to use from many threads. One execution may be held under two leases: it was lost, and came again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, uuid.UUID] = {}  # lease token to execution
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
                self._held[command.lease_token] = command.execution_id
                new.append(command)
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return new

    def drop(self, tokens: Iterable[uuid.UUID]) -> None:
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def held(self) -> list[HeldLease]:
        with self._lock:
            return [HeldLease(execution_id=execution, lease_token=token) for token, execution in self._held.items()]
