"""Announces ended executions over the broker to processes in which clients wait for them (ADR 93).

While no client waits, nothing is sent. A process with waiting clients says so every REPEAT_SECONDS; control workers
follow that. An announcement may be lost: the waiting process also looks at the rows.
"""

import logging
import threading
import time
import uuid
from collections.abc import Collection
from functools import partial
from typing import Any, Final

from django.db import transaction
from redis.client import PubSub

from foundation import wakeup
from foundation.broker_gate import REFUSALS, gate

log = logging.getLogger(__name__)
ENDED, WAITED_FOR = "ended", "waited-for"
REPEAT_SECONDS: Final = 10.0
VALID_SECONDS: Final = 25.0
"""How long a process announces endings after it last heard that a client waits."""
RETRY_SECONDS: Final = 1.0
_ID_BYTES = 16


class Demand:
    """Whether this process announces endings. Only processes that call `follow` or `always` do."""

    def __init__(self, valid_seconds: float = VALID_SECONDS) -> None:
        self.exists = False
        self._valid_seconds = valid_seconds

    def always(self) -> None:
        """Announce endings even if no client waits, for a process that ends few executions."""
        self.exists = True

    def follow(self) -> None:
        """Announce endings while any client waits. Starts a thread."""
        self.always()  # until it is known
        threading.Thread(name="waits", target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            self.exists = True
            try:
                with _subscribed(WAITED_FOR) as channel:
                    self._heard(channel)
            except REFUSALS:
                time.sleep(RETRY_SECONDS)

    def _heard(self, channel: PubSub) -> None:
        """Follow until the broker is silent, which raises an error."""
        pinged = False
        while True:
            message: Any = channel.get_message(timeout=self._valid_seconds)
            if message is not None:
                self.exists = self.exists or message["type"] == "message"
                pinged = False
                continue
            if pinged:
                raise TimeoutError("The broker does not answer")
            self.exists, pinged = False, True
            channel.ping()  # otherwise a connection that broke silently would never be missed


demand: Final = Demand()


def announce(ids: Collection[uuid.UUID]) -> None:
    """Announce after the current transaction that these executions have ended. Never raises errors of the broker."""
    if ids:
        payload = b"".join(execution_id.bytes for execution_id in ids)
        transaction.on_commit(lambda: _publish(ENDED, payload))


class Endings:
    """The announcements that arrive from now on. Its methods raise REFUSALS."""

    def __init__(self) -> None:
        self._channel = _subscribed(ENDED)
        self._repeat_at = 0.0
        self.demand()

    def close(self) -> None:
        self._channel.close()

    def demand(self) -> None:
        """Say that clients wait, unless it has been said within REPEAT_SECONDS."""
        if time.monotonic() >= self._repeat_at:
            _publish(WAITED_FOR, b"")
            self._repeat_at = time.monotonic() + REPEAT_SECONDS

    def received(self, *, seconds: float) -> set[uuid.UUID]:
        """Return the executions of the next announcement. Wait up to `seconds` for it."""
        message: Any = self._channel.get_message(timeout=seconds)
        data = message["data"] if message is not None and message["type"] == "message" else b""
        return {uuid.UUID(bytes=data[at : at + _ID_BYTES]) for at in range(0, len(data), _ID_BYTES)}


def _publish(channel: str, payload: bytes) -> None:
    gate.send(partial(wakeup.broker().publish, _name(channel), payload))


def _subscribed(channel: str) -> PubSub:
    """Return a subscription that the broker has confirmed."""
    made: PubSub = wakeup.broker().pubsub()  # type: ignore[no-untyped-call]
    try:
        made.subscribe(_name(channel))
        if made.get_message(timeout=RETRY_SECONDS) is None:
            raise TimeoutError("The broker does not confirm a subscription")
    except BaseException:
        made.close()
        raise
    return made


def _name(channel: str) -> str:
    """Return the name of a channel. Unlike keys, channels are common to all databases of a server."""
    return f"coordinator:{wakeup.broker().get_connection_kwargs().get('db', 0)}:{channel}"
