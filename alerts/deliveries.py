"""Sends messages to channels, until they are accepted (`outbox`): about alerts and ends of executions, and tests.

A trigger writes the message of an execution as it ends: see `executions.models.Notification`.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from alerts import channels, texts
from alerts.kinds import Kind
from alerts.models import Alert, AlertChannel, AlertDelivery, page_of
from alerts.recoveries import recovery_path
from executions.models import Execution, Notification
from executions.state_machine.moves import NOTIFY_TASK
from foundation import wakeup
from foundation.errors import Conflict
from foundation.exchange import Resolve
from outbox.outbox import Failure, Message, Outbox, Receipt, mail, post, signed, webhook_keys
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.invitations import SEND_TASK
from tenancy.models import Tenant

DELIVER_TASK: Final = "alerts.deliver"
LONGEST_DELAY: Final = timedelta(minutes=15)
TEST_ATTEMPTS: Final = 1
DELIVERIES_SHOWN: Final = 20
State = AlertDelivery.State
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

# Claims the delivery that has been due for longest, for one attempt. The message that an alert is resolved waits until
# the one that it fires is over, so that they never arrive in the wrong order. No row: none is due.
CLAIM = """
UPDATE alerts_alertdelivery d SET attempts = d.attempts + 1, next_at = now() + make_interval(secs => %(lease)s)
WHERE d.id = (
    SELECT c.id FROM alerts_alertdelivery c
    WHERE c.state = 'PENDING' AND c.next_at <= now() AND NOT c.tenant_id = ANY(%(full)s::bigint[])
        AND NOT (c.kind = 'RESOLVED' AND EXISTS (SELECT FROM alerts_alertdelivery f
            WHERE f.alert_id = c.alert_id AND f.channel_id = c.channel_id
                AND f.kind = 'FIRING' AND f.state = 'PENDING'))
    ORDER BY c.next_at, c.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING d.id, d.tenant_id
"""

# Records the result of an attempt. No row: the delivery is over, or a newer attempt has started.
RECORD = """
UPDATE alerts_alertdelivery d SET state = %(state)s, error = %(error)s, next_at = now() + CASE
    WHEN d.kind = 'FIRING' AND EXISTS (SELECT FROM alerts_alert a WHERE a.id = d.alert_id AND a.state = 'RESOLVED')
    THEN '0' ELSE coalesce(%(wait)s::interval, '0') END
WHERE id = %(id)s AND state = 'PENDING' AND attempts = %(attempt)s
"""

# Claims the message that has been due for longest, for one attempt. No row: none is due.
CLAIM_NOTIFICATION = """
UPDATE executions_notification n SET attempts = n.attempts + 1, next_at = now() + make_interval(secs => %(lease)s)
WHERE n.id = (
    SELECT c.id FROM executions_notification c
    WHERE c.state = 'PENDING' AND c.next_at <= now() AND NOT c.tenant_id = ANY(%(full)s::bigint[])
    ORDER BY c.next_at, c.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING n.id, n.tenant_id
"""

# Records the result of an attempt. No row: the message is over, or a newer attempt has started.
RECORD_NOTIFICATION = """
UPDATE executions_notification SET state = %(state)s, error = %(error)s,
    next_at = now() + coalesce(%(wait)s::interval, '0')
WHERE id = %(id)s AND state = 'PENDING' AND attempts = %(attempt)s
"""

# Returns whether a message of an alert is due, whether one about an execution is, and whether an invitation is.
DUE = """
SELECT EXISTS (SELECT FROM alerts_alertdelivery WHERE state = 'PENDING' AND next_at <= now()),
    EXISTS (SELECT FROM executions_notification WHERE state = 'PENDING' AND next_at <= now()),
    EXISTS (SELECT FROM tenancy_invitation WHERE state = 'OPEN' AND mail = 'PENDING' AND next_at <= now())
"""

# Writes a test message to a channel that is enabled. No row: the channel is disabled or removed.
TEST = """
INSERT INTO alerts_alertdelivery (tenant_id, channel_id, kind)
SELECT c.tenant_id, c.id, 'TEST' FROM alerts_alertchannel c
WHERE c.id = %(channel)s AND c.enabled AND c.removed_at IS NULL RETURNING id
"""


class AlertChannelDisabled(Conflict, title="The alert channel is disabled"):
    """Enable the channel first."""


def newest(source: Alert | AlertChannel) -> list[AlertDelivery]:
    """Return the newest deliveries of an alert or to a channel, the newest first."""
    rows = source.deliveries.select_related("channel", "alert").order_by("-created_at", "-id")
    return list(rows[:DELIVERIES_SHOWN])


# --- texts ---


def headline(delivery: AlertDelivery) -> str:
    """Return the message on one line."""
    return " ".join(f"[{delivery.kind}] {delivery.tenant.slug}: {_title(delivery)}".split())


def document(delivery: AlertDelivery) -> dict[str, Any]:
    alert = delivery.alert
    return {
        "type": "alert",
        "test": alert is None,
        "deliveryId": str(delivery.pk),
        "tenantId": delivery.tenant.slug,
        "state": delivery.kind,
        "alertId": str(alert.pk) if alert else None,
        "rule": {"id": str(alert.rule_id), "name": alert.rule.name, "kind": alert.rule.kind} if alert else None,
        "title": _title(delivery),
        "detail": _detail(delivery),
        "startedAt": alert.started_at.isoformat() if alert else None,
        "resolvedAt": alert.resolved_at.isoformat() if alert and alert.resolved_at else None,
        "sentAt": timezone.now().isoformat(),
        "links": {label.lower(): url or None for label, url in _links(alert)},
    }


def text(delivery: AlertDelivery) -> str:
    """Return the body of an e-mail."""
    facts = _links(delivery.alert)
    if alert := delivery.alert:
        resolved = f"{alert.resolved_at:%Y-%m-%d %H:%M:%S} UTC" if alert.resolved_at else ""
        facts = [
            ("Rule", f"{alert.rule.name} ({alert.rule.kind})"),
            ("Started", f"{alert.started_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("Resolved", resolved),
            *facts,
        ]
    lines = [_title(delivery), _detail(delivery), "", *(f"{name}: {value}" for name, value in facts if value)]
    return "\n".join(lines) + "\n"


def runbook_of(kind: Kind) -> str:
    """Return the address of the runbook; "" without ALERT_DOCS_URL."""
    return f"{settings.ALERT_DOCS_URL}/{kind.runbook}" if settings.ALERT_DOCS_URL else ""


def _title(delivery: AlertDelivery) -> str:
    return delivery.alert.title if delivery.alert else f"Test message to the channel {delivery.channel.name}"


def _detail(delivery: AlertDelivery) -> str:
    return delivery.alert.detail if delivery.alert else "A person sent it. Nothing is wrong."


def _links(alert: Alert | None) -> list[tuple[str, str]]:
    """Return the pages of the alert, of what it is about, and of the recovery from it, and the runbook.

    The address is "" if there is no such page, and that of a page without PUBLIC_URL.
    """
    if alert is None:
        return [("Alert", ""), ("About", ""), ("Recovery", ""), ("Runbook", "")]
    paths = (page_of(Alert, alert.pk), alert.path, recovery_path(alert))
    page, about, recovery = (f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL and path else "" for path in paths)
    return [
        ("Alert", page),
        ("About", about),
        ("Recovery", recovery),
        ("Runbook", runbook_of(Kind(alert.rule.kind))),
    ]


# --- sending ---


def test(channel: AlertChannel, *, actor: str) -> AlertDelivery:
    """Write a test message to the channel, which is sent at once. Raises `AlertChannelDisabled`."""
    with transaction.atomic():
        delivery_id = _write_test(channel)
        if delivery_id is None:
            raise AlertChannelDisabled(f"The alert channel {channel.name!r} is disabled.")
        audit.record(Act.ALERT_CHANNEL_TEST, tenant=channel.tenant, actor=actor, object=channel.name)
    return AlertDelivery.objects.select_related("channel").get(pk=delivery_id)


def add_channel(tenant: Tenant, *, actor: str, **members: Any) -> AlertChannel:
    """Add a channel as `channels.add` does, and send it a test message if it is enabled."""
    with transaction.atomic():
        channel = channels.add(tenant, actor=actor, **members)
        _write_test(channel)
    return channel


def change_channel(channel: AlertChannel, *, actor: str, **changes: Any) -> AlertChannel:
    """Change a channel as `channels.change` does. Send it a test message if more than its name changed."""
    with transaction.atomic():
        channel = channels.change(channel, actor=actor, **changes)
        if changes.keys() - {"name"}:
            _write_test(channel)
    return channel


def _write_test(channel: AlertChannel) -> uuid.UUID | None:
    """Write a test message, which is sent after the commit, and return its id. None if the channel is disabled."""
    with connection.cursor() as cursor:
        cursor.execute(TEST, {"channel": channel.pk})
        row = cursor.fetchone()
    if row is None:
        return None
    wakeup.send(DELIVER_TASK)
    return uuid.UUID(str(row[0]))


def _due() -> tuple[bool, bool, bool]:
    with connection.cursor() as cursor:
        cursor.execute(DUE)
        due: tuple[bool, bool, bool] = cursor.fetchone()
    return due


def announce() -> None:
    """Send wake-ups if messages are due that no wake-up may have announced."""
    for task, is_due in zip((DELIVER_TASK, NOTIFY_TASK, SEND_TASK), _due(), strict=True):
        if is_due:
            wakeup.send(task)


def _load(claimed: uuid.UUID) -> Message:
    delivery = AlertDelivery.objects.select_related("channel", "tenant", "alert__rule").get(pk=claimed)
    is_test = delivery.kind == AlertDelivery.Kind.TEST
    return Message(
        name=f"Alert message {claimed}",
        attempt=delivery.attempts,
        most_attempts=TEST_ATTEMPTS if is_test else settings.WEBHOOK_ATTEMPTS,
        error=delivery.error,
        send=lambda resolve: _send(delivery, resolve),
        record=lambda receipt: _record(RECORD, delivery, receipt),
    )


def _load_notification(claimed: uuid.UUID) -> Message:
    message = Notification.objects.select_related("tenant").get(pk=claimed)
    return Message(
        name=f"Notification {claimed}",
        attempt=message.attempts,
        most_attempts=settings.WEBHOOK_ATTEMPTS,
        error=message.error,
        send=lambda resolve: _notify(message, resolve),
        record=lambda receipt: _record(RECORD_NOTIFICATION, message, receipt),
    )


OUTBOX: Final = Outbox(
    task=DELIVER_TASK,
    claim=CLAIM,
    is_due=lambda: _due()[0],
    load=_load,
    longest_delay=LONGEST_DELAY,
)
NOTIFICATIONS: Final = Outbox(
    task=NOTIFY_TASK,
    claim=CLAIM_NOTIFICATION,
    is_due=lambda: _due()[1],
    load=_load_notification,
    longest_delay=LONGEST_DELAY,
)


def _send(delivery: AlertDelivery, resolve: Resolve) -> Failure | None:
    if delivery.is_superseded:
        return Failure("the alert was resolved before the message was accepted", final=True)
    said = Said(headline(delivery), _detail(delivery), _links(delivery.alert), text(delivery), document(delivery))
    return say(delivery.channel, delivery.tenant.slug, str(delivery.pk), said, resolve)


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says: in one line with a detail and named links, as the body of an e-mail, and as a document."""

    headline: str
    detail: str
    links: Sequence[tuple[str, str]]
    text: str
    document: Mapping[str, Any]

    @property
    def slack(self) -> dict[str, Any]:
        """The body for a Slack-compatible URL. Texts are escaped, so that they mention no one."""
        links = [f"<{url}|{label}>" for label, url in self.links if url]
        lines = [f"*{self.headline.translate(_SLACK)}*", self.detail.translate(_SLACK), " · ".join(links)]
        return {"text": "\n".join(filter(None, lines))}


def say(channel: AlertChannel, tenant: str, message_id: str, said: Said, resolve: Resolve) -> Failure | None:
    """Make one attempt to send a message to a channel of the tenant. Return None if it was accepted."""
    if not channel.enabled or channel.removed_at is not None:
        return Failure("the channel is disabled", final=True)
    if channel.kind == AlertChannel.Kind.EMAIL:
        return mail(channel.address.split(","), said.headline, said.text, message_id=message_id)
    secret = texts.secret(settings.ALERT_SECRETS, tenant, channel.secret) if channel.secret else None
    if channel.secret and secret is None:
        return Failure(f"ALERT_SECRETS has no readable secret {channel.secret!r} of the tenant")
    if channel.kind == AlertChannel.Kind.SLACK:
        body = json.dumps(said.slack, ensure_ascii=False).encode()
        return post(secret or "", body, {}, message_id=message_id, resolve=resolve)
    body = json.dumps(said.document, ensure_ascii=False).encode()
    headers = signed(body, [secret] if secret else webhook_keys(tenant))
    return post(channel.address, body, headers, message_id=message_id, resolve=resolve)


def _record(statement: str, message: AlertDelivery | Notification, receipt: Receipt) -> None:
    state = State.PENDING if receipt.wait is not None else State.FAILED if receipt.error else State.SENT
    parameters: dict[str, Any] = {
        "id": message.pk,
        "attempt": message.attempts,
        "state": state.value,
        "error": receipt.error,
        "wait": receipt.wait,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


# --- messages about executions ---


def notifications(tenant: Tenant) -> QuerySet[Notification]:
    """Return the messages about executions of the tenant. The caller has checked access to the tenant."""
    return Notification.objects.filter(tenant=tenant)


def newest_notifications(channel: AlertChannel) -> list[Notification]:
    """Return the newest messages about executions to a channel, the newest first."""
    return list(Notification.objects.filter(channel_id=channel.pk)[:DELIVERIES_SHOWN])


def _said(message: Notification) -> Said:
    """Return what a message says: which execution ended, how and when. It has no payload and no error."""
    tenant, pin = message.tenant.slug, message.document["pin"]
    path = page_of(Execution, message.execution_id)
    page = f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else ""
    title = f"Execution {message.execution_id} of {pin['pipelineId']} {pin['releaseVersion']}"
    lines = [title, f"Finished: {datetime.fromisoformat(message.document['finishedAt']):%Y-%m-%d %H:%M:%S} UTC", page]
    document: dict[str, Any] = {
        "type": "execution",
        "notificationId": str(message.pk),
        "tenantId": tenant,
        **message.document,
        "links": {"execution": page or None},
    }
    links = [("Execution", page)]
    return Said(
        f"[{message.document['status']}] {tenant}: {title}", "", links, "\n".join(filter(None, lines)), document
    )


def _notify(message: Notification, resolve: Resolve) -> Failure | None:
    channel = AlertChannel.objects.get(pk=message.channel_id, tenant=message.tenant)
    return say(channel, message.tenant.slug, str(message.pk), _said(message), resolve)
