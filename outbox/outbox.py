"""Sends the messages of a table, with retries, until their receivers accept them.

One attempt is a signed HTTP request to an address that is checked first, or an e-mail.

A message is claimed for one numbered attempt, with a lease for the time that an attempt may take; if the process dies,
the message is due again after the lease. No transaction is open while a message is sent. The table records the receipt
of an attempt only if no newer one has started.
"""

import hashlib
import hmac
import logging
import random
import smtplib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import make_msgid
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend
from django.db import connection
from django.utils import timezone

from coordinator_client.errors import Broken, NotConnected, TimedOut
from coordinator_client.http import resolve
from foundation import places, wakeup
from foundation.database.writes import record_when_accepted
from foundation.exchange import MOST_ADDRESSES, Resolve, TargetRefused, Unreachable, exchange, vet
from wire.log_lines import frames_of
from wire.resume_token import webhook_key
from wire.retry import RetryPolicy

log = logging.getLogger(__name__)
NO_PLACE_DELAY: Final = timedelta(seconds=2)
LONGEST_ERROR: Final = 300
SIGNATURE_HEADER: Final = "X-Coordinator-Signature"
MARGIN_SECONDS: Final = 5
TIMEOUT_SECONDS: Final = 10.0


# --- one attempt ---


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. `reason` contains no secret. If `final` is true, another attempt cannot help."""

    reason: str
    final: bool = False


def sending_seconds() -> int:
    """Return how long one attempt may take: to connect to each address, to wait for the response, and a margin."""
    return int(TIMEOUT_SECONDS * (MOST_ADDRESSES + 1)) + MARGIN_SECONDS


def webhook_keys(tenant_id: str) -> list[str]:
    """Return the keys that sign the tenant's webhooks, one for each active secret, that of WORKER_SECRET first."""
    roots = (settings.WORKER_SECRET, *settings.WORKER_SECRET_FALLBACKS)
    return [webhook_key(root, tenant_id) for root in roots]


def signed(body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """Return the header that signs the body now: `t=` with epoch seconds, and one `v1=` for each key.

    A signature is HMAC-SHA256 in hexadecimal over the seconds, a dot, and the body.
    """
    moment = int(timezone.now().timestamp())
    text = f"{moment}.".encode() + body
    signatures = (hmac.new(key.encode(), text, hashlib.sha256).hexdigest() for key in keys)
    return {SIGNATURE_HEADER: ",".join([f"t={moment}", *(f"v1={signature}" for signature in signatures)])}


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    message_id: str,
    resolve: Resolve,
    names_receiver: bool = False,
) -> Failure | None:
    """Send JSON to a URL that a tenant chose. Return None if the receiver accepted it. The response is not read.

    The failure names the receiver only with `names_receiver`: the URL may be a secret.
    """
    try:
        target = vet(url, allowed=settings.WEBHOOK_ALLOWED_NETWORKS, resolve=resolve)
        response = exchange(
            target,
            "POST",
            body,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "durable-coordinator",
                "Idempotency-Key": message_id,
                **headers,
            },
            connect_seconds=TIMEOUT_SECONDS,
            seconds=TIMEOUT_SECONDS,
            limit=None,
            ca_file=settings.WEBHOOK_CA_FILE,
        )
    except TargetRefused as error:
        hidden = "the address of the receiver may not be called; see WEBHOOK_ALLOWED_NETWORKS"
        return Failure(str(error) if names_receiver else hidden, final=True)
    except Unreachable as error:
        return Failure(str(error) if names_receiver else "the name of the receiver does not resolve")
    except TimedOut:
        return Failure("the receiver took too long to respond")
    except NotConnected as error:
        return Failure(f"no connection to the receiver{f': {error}' if names_receiver else ''}")
    except Broken as error:
        return Failure(str(error) if names_receiver else "the connection to the receiver was lost")
    if 200 <= response.status < 300:
        return None
    return Failure(f"the receiver responded with status {response.status}")


def mail(addresses: list[str], subject: str, text: str, *, message_id: str) -> Failure | None:
    """Send one e-mail to all addresses. Return None if the mail server of the installation accepted it."""
    if not (settings.EMAIL_HOST and settings.DEFAULT_FROM_EMAIL):
        return Failure("EMAIL_HOST and EMAIL_FROM are not configured", final=True)
    made = EmailMessage(
        subject,
        text,
        settings.DEFAULT_FROM_EMAIL,
        addresses,
        # A mail reader shows a repeated message once.
        headers={
            "Message-ID": f"<{message_id}@{make_msgid().rpartition('@')[2]}",
            "Auto-Submitted": "auto-generated",
        },
        connection=EmailBackend(timeout=TIMEOUT_SECONDS),
    )
    try:
        made.send()
    except smtplib.SMTPResponseException as error:
        return Failure(f"the mail server responded with {error.smtp_code}")
    except (smtplib.SMTPException, OSError) as error:
        return Failure(f"the mail server did not accept the message ({type(error).__name__})")
    return None


# --- the table ---


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
        record_when_accepted(lambda: message.record(receipt))
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
