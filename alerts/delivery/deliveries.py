"""Sends the messages of alerts, with retries, until their receivers accept them.

A delivery is claimed for one attempt, with a lease; if the process dies, it is due again after the lease. No
transaction is open while a message is sent. The result of an attempt is ignored if a newer attempt has started.
"""

import logging
import random
import uuid
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from alerts import statements
from alerts.delivery import email, posts
from alerts.delivery.failure import Failure
from alerts.delivery.message import message_of
from alerts.errors import AlertChannelDisabled
from alerts.models import AlertChannel, AlertDelivery
from executions.awaits.webhooks import sending_seconds
from executions.state_machine.retry import RetryPolicy
from foundation.database.in_hand import record_in_hand
from foundation.http import address_guard
from foundation.http.address_guard import Resolve
from foundation.scheduling import places
from foundation.wakeups import wakeup
from tenancy import audit
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)
DELIVER_TASK: Final = "alerts.deliver"
LONGEST_DELAY: Final = timedelta(minutes=15)
NO_PLACE_DELAY: Final = timedelta(seconds=2)
LONGEST_ERROR: Final = 300
TEST_ATTEMPTS: Final = 1


def deliver(*, resolve: Resolve = address_guard.resolve) -> bool:
    """Send the message that has been due for longest, and announce the next one. Return False if none is due."""
    with places.WEBHOOKS.take(_claim, crowded=_deliver_later) as claimed:
        if claimed is not None:
            _send(claimed, resolve)
    if claimed is not None:
        wakeup.send(DELIVER_TASK)
    return claimed is not None


def announce() -> None:
    """Send a wake-up if a message is due that no other message may have announced."""
    if AlertDelivery.objects.filter(state=AlertDelivery.State.PENDING, next_at__lte=Now()).exists():
        wakeup.send(DELIVER_TASK)


def test(channel: AlertChannel, *, actor: str) -> AlertDelivery:
    """Write a test message to the channel, which is sent at once. Raises `AlertChannelDisabled`."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statements.TEST, {"channel": channel.pk})
            row = cursor.fetchone()
        if row is None:
            raise AlertChannelDisabled(f"The alert channel {channel.name!r} is disabled.")
        audit.record(
            Act.ALERT_CHANNEL_TEST, tenant=channel.tenant, actor=actor, object_type="alert_channel", object=channel.name
        )
        wakeup.send(DELIVER_TASK)
    return AlertDelivery.objects.select_related("channel").get(pk=row[0])


def _deliver_later() -> None:
    if AlertDelivery.objects.filter(state=AlertDelivery.State.PENDING, next_at__lte=Now()).exists():
        wakeup.send_once(DELIVER_TASK, delay=NO_PLACE_DELAY)


def _claim(full: list[int]) -> tuple[uuid.UUID, int] | None:
    with connection.cursor() as cursor:
        cursor.execute(statements.CLAIM, {"lease": sending_seconds(), "full": full})
        row: tuple[uuid.UUID, int] | None = cursor.fetchone()
    return row


def _send(claimed: uuid.UUID, resolve: Resolve) -> None:
    delivery = AlertDelivery.objects.select_related("channel", "tenant", "alert__rule").get(pk=claimed)
    if delivery.attempts > _most_attempts(delivery):
        # The processes of the last attempts died.
        _record(delivery, AlertDelivery.State.FAILED, delivery.error or "no attempt was completed")
        return
    if delivery.is_superseded:
        _record(delivery, AlertDelivery.State.FAILED, "the alert was resolved before the message was accepted")
        return
    failure = _attempt(delivery, resolve)
    if failure is None:
        _record(delivery, AlertDelivery.State.SENT, "")
        return
    log.warning("Alert message %s was not accepted: %s", delivery.pk, failure.reason)
    wait = None if failure.final else _policy(delivery).wait(delivery.attempts, random.random)
    state = AlertDelivery.State.FAILED if wait is None else AlertDelivery.State.PENDING
    _record(delivery, state, failure.reason, wait)
    if wait is not None:
        wakeup.send(DELIVER_TASK, delay=wait)


def _attempt(delivery: AlertDelivery, resolve: Resolve) -> Failure | None:
    channel, message = delivery.channel, message_of(delivery)
    if not channel.enabled or channel.removed_at is not None:
        return Failure("the channel is disabled", final=True)
    try:
        if channel.kind == AlertChannel.Kind.EMAIL:
            return email.send(channel, message)
        if channel.kind == AlertChannel.Kind.SLACK:
            return posts.send_slack(channel, message, resolve)
        return posts.send_webhook(channel, message, resolve)
    except Exception as error:
        # The attempt has failed, and the next one may succeed. The traceback could contain a secret.
        log.error("Sending alert message %s failed (%s)", delivery.pk, type(error).__name__)
        return Failure(f"an internal error ({type(error).__name__})", final=False)


def _most_attempts(delivery: AlertDelivery) -> int:
    return TEST_ATTEMPTS if delivery.kind == AlertDelivery.Kind.TEST else settings.WEBHOOK_ATTEMPTS


def _policy(delivery: AlertDelivery) -> RetryPolicy:
    return RetryPolicy(
        limit=_most_attempts(delivery) - 1,
        delay=timedelta(seconds=settings.WEBHOOK_DELAY_SECONDS),
        multiplier=2.0,
        cap=LONGEST_DELAY,
        jitter=settings.RETRY_JITTER,
    )


def _record(delivery: AlertDelivery, state: AlertDelivery.State, error: str, wait: timedelta | None = None) -> None:
    parameters: dict[str, Any] = {
        "id": delivery.pk,
        "attempt": delivery.attempts,
        "state": state.value,
        "error": error[:LONGEST_ERROR],
        "wait": wait,
    }

    def record() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statements.RECORD, parameters)

    record_in_hand(record)
