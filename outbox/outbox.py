"""Sends the messages of a table, with retries, until their receivers accept them.

A message is claimed for one numbered attempt, with a lease for the time that an attempt may take; if the process dies,
the message is due again after the lease. No transaction is open while a message is sent. The table records the receipt
of an attempt only if no newer one has started.
"""

import logging
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection

from coordinator_client.http import resolve
from foundation import places, wakeup
from foundation.database.writes import record_in_hand
from foundation.exchange import Resolve
from foundation.retry import RetryPolicy
from outbox.posts import Failure, sending_seconds
from wire.log_lines import frames_of

log = logging.getLogger(__name__)
NO_PLACE_DELAY: Final = timedelta(seconds=2)
LONGEST_ERROR: Final = 300


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of an attempt. `error` is empty if the receiver accepted the message.

    `wait` is the time until the next attempt; None if the message was accepted or is given up.
    """

    error: str = ""
    wait: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A claimed message. `attempt` is the number of this attempt, from 1, and `error` why the one before it failed.

    `send` makes the attempt and returns None if the receiver accepted the message. `record` writes its receipt in one
    transaction, and changes nothing if that was written before, or if a newer attempt has started.
    """

    name: str
    attempt: int
    most_attempts: int
    error: str
    send: Callable[[Resolve], Failure | None]
    record: Callable[[Receipt], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """A table of messages, and how they are sent.

    `task` is the name of the Celery task that calls `send`. `claim` is the statement that claims the message which has
    been due for longest, for `lease` seconds and none of the tenants `full`, and returns its id and its tenant.
    `is_due` tells whether a message is due. `load` returns a claimed message. The waits between attempts double, up to
    `longest_delay`.
    """

    task: str
    claim: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    is_due: Callable[[], bool]
    load: Callable[[uuid.UUID], Message]
    longest_delay: timedelta

    def send(self, *, resolve: Resolve = resolve) -> bool:
        """Send the message that has been due for longest, and announce the next one. Return False if none is due.

        Messages of tenants whose receivers occupy all their places wait for a free place.
        """
        with places.WEBHOOKS.take(self._claim, crowded=self._send_later) as claimed:
            if claimed is not None:
                self._send(self.load(claimed), resolve)
        if claimed is not None:
            wakeup.send(self.task)
        return claimed is not None

    def announce(self) -> None:
        """Send a wake-up if a message is due that no wake-up may have announced."""
        if self.is_due():
            wakeup.send(self.task)

    def _send_later(self) -> None:
        if self.is_due():
            wakeup.send_once(self.task, delay=NO_PLACE_DELAY)

    def _claim(self, full: list[int]) -> tuple[uuid.UUID, int] | None:
        with connection.cursor() as cursor:
            cursor.execute(self.claim, {**self.parameters, "lease": sending_seconds(), "full": full})
            row: tuple[uuid.UUID, int] | None = cursor.fetchone()
        return row

    def _send(self, message: Message, resolve: Resolve) -> None:
        if message.attempt > message.most_attempts:
            # The processes of the last attempts died.
            message.record(Receipt(message.error or "no attempt was completed"))
            return
        receipt = self._receipt(message, _attempted(message, resolve))
        record_in_hand(lambda: message.record(receipt))
        if receipt.wait is not None:
            wakeup.send(self.task, delay=receipt.wait)

    def _receipt(self, message: Message, failure: Failure | None) -> Receipt:
        if failure is None:
            return Receipt()
        log.warning("%s was not accepted: %s", message.name, failure.reason)
        policy = RetryPolicy(
            limit=message.most_attempts - 1,
            delay=timedelta(seconds=settings.WEBHOOK_DELAY_SECONDS),
            multiplier=2.0,
            cap=self.longest_delay,
            jitter=settings.RETRY_JITTER,
        )
        wait = None if failure.final else policy.wait(message.attempt, random.random)
        return Receipt(failure.reason[:LONGEST_ERROR], wait)


def _attempted(message: Message, resolve: Resolve) -> Failure | None:
    try:
        return message.send(resolve)
    except Exception as error:
        # The attempt has failed, and the next one may succeed. The text of the error could contain a secret.
        kind = type(error).__name__
        log.error("%s was not sent", message.name, extra={"errorClass": kind, "frames": frames_of(error)})
        return Failure(f"an internal error ({kind})")
