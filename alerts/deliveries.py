"""Sends the messages of alerts to their channels, until they are accepted (`outbox`), and writes test messages."""

import json
import uuid
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from alerts import messages, statements, texts
from alerts.errors import AlertChannelDisabled
from alerts.models import AlertChannel, AlertDelivery
from foundation.http.address_guard import Resolve
from foundation.wakeups import wakeup
from outbox.outbox import Message, Outbox, Receipt
from outbox.posts import Failure, mail, post, signed, webhook_keys
from tenancy import audit
from tenancy.audit.acts import Act

DELIVER_TASK: Final = "alerts.deliver"
LONGEST_DELAY: Final = timedelta(minutes=15)
TEST_ATTEMPTS: Final = 1
State = AlertDelivery.State


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


def _is_due() -> bool:
    return AlertDelivery.objects.filter(state=State.PENDING, next_at__lte=Now()).exists()


def _load(claimed: uuid.UUID) -> Message:
    delivery = AlertDelivery.objects.select_related("channel", "tenant", "alert__rule").get(pk=claimed)
    is_test = delivery.kind == AlertDelivery.Kind.TEST
    return Message(
        name=f"Alert message {claimed}",
        attempt=delivery.attempts,
        most_attempts=TEST_ATTEMPTS if is_test else settings.WEBHOOK_ATTEMPTS,
        error=delivery.error,
        send=lambda resolve: _send(delivery, resolve),
        record=lambda receipt: _record(delivery, receipt),
    )


OUTBOX: Final = Outbox(
    task=DELIVER_TASK,
    claim=statements.CLAIM,
    is_due=_is_due,
    load=_load,
    longest_delay=LONGEST_DELAY,
)


def _send(delivery: AlertDelivery, resolve: Resolve) -> Failure | None:
    if delivery.is_superseded:
        return Failure("the alert was resolved before the message was accepted", final=True)
    channel = delivery.channel
    if not channel.enabled or channel.removed_at is not None:
        return Failure("the channel is disabled", final=True)
    tenant, message_id = delivery.tenant.slug, str(delivery.pk)
    if channel.kind == AlertChannel.Kind.EMAIL:
        return mail(
            channel.address.split(","), messages.headline(delivery), messages.text(delivery), message_id=message_id
        )
    secret = texts.secret(settings.ALERT_SECRETS, tenant, channel.secret) if channel.secret else None
    if channel.secret and secret is None:
        return Failure(f"ALERT_SECRETS has no readable secret {channel.secret!r} of the tenant")
    if channel.kind == AlertChannel.Kind.SLACK:
        body = json.dumps(messages.slack(delivery), ensure_ascii=False).encode()
        return post(secret or "", body, {}, message_id=message_id, resolve=resolve)
    body = json.dumps(messages.document(delivery), ensure_ascii=False).encode()
    headers = signed(body, [secret] if secret else webhook_keys(tenant))
    return post(channel.address, body, headers, message_id=message_id, resolve=resolve)


def _record(delivery: AlertDelivery, receipt: Receipt) -> None:
    state = State.PENDING if receipt.wait is not None else State.FAILED if receipt.error else State.SENT
    parameters: dict[str, Any] = {
        "id": delivery.pk,
        "attempt": delivery.attempts,
        "state": state.value,
        "error": receipt.error,
        "wait": receipt.wait,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.RECORD, parameters)
