"""Sends messages as HTTP requests: signed webhooks, and Slack-compatible JSON.

The URLs come from tenants, so each is checked by the address guard, as those of other webhooks. An error names neither
the URL nor the response.
"""

import json
from typing import Any

from django.conf import settings
from django.utils import timezone

from alerts import secrets
from alerts.delivery.failure import Failure
from alerts.delivery.message import Message
from alerts.models import AlertChannel
from executions.awaits.webhooks import SIGNATURE_HEADER, signature, webhook_keys
from foundation.http import address_guard
from foundation.http.address_guard import Resolve, TargetRefused, Unreachable
from foundation.http.exchange import Broken, NotConnected, TimedOut, exchange


def send_webhook(channel: AlertChannel, message: Message, resolve: Resolve) -> Failure | None:
    """Send the message, signed with the channel's secret or the tenant's webhook key.

    Return None if it was accepted.
    """
    body = json.dumps(message.document(), ensure_ascii=False).encode()
    keys = webhook_keys(message.tenant)
    if channel.secret:
        secret = secrets.secret(settings.ALERT_SECRETS, message.tenant, channel.secret)
        if secret is None:
            return _no_secret(channel)
        keys = [secret]
    moment = int(timezone.now().timestamp())
    return _post(channel.address, body, {SIGNATURE_HEADER: signature(keys, moment, body)}, message, resolve)


def send_slack(channel: AlertChannel, message: Message, resolve: Resolve) -> Failure | None:
    """Send the message to the URL that is the channel's secret. Return None if it was accepted."""
    url = secrets.secret(settings.ALERT_SECRETS, message.tenant, channel.secret)
    if url is None:
        return _no_secret(channel)
    return _post(url, json.dumps(message.slack(), ensure_ascii=False).encode(), {}, message, resolve)


def _no_secret(channel: AlertChannel) -> Failure:
    return Failure(f"ALERT_SECRETS has no readable secret {channel.secret!r} of the tenant", final=False)


def _post(url: str, body: bytes, headers: dict[str, Any], message: Message, resolve: Resolve) -> Failure | None:
    try:
        target = address_guard.vet(url, allowed=settings.WEBHOOK_ALLOWED_NETWORKS, resolve=resolve)
        response = exchange(
            target,
            "POST",
            body,
            headers={
                "Content-Type": "application/json",
                "User-Agent": "durable-coordinator",
                "Idempotency-Key": message.delivery_id,
                **headers,
            },
            connect_seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
            seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
            limit=None,
            ca_file=settings.WEBHOOK_CA_FILE,
        )
    except TargetRefused:
        return Failure("the address of the receiver may not be called", final=True)
    except Unreachable:
        return Failure("the name of the receiver does not resolve", final=False)
    except TimedOut:
        return Failure("the receiver took too long to respond", final=False)
    except NotConnected:
        return Failure("no connection to the receiver", final=False)
    except Broken:
        return Failure("the connection to the receiver was lost", final=False)
    if 200 <= response.status < 300:
        return None
    return Failure(f"the receiver responded with status {response.status}", final=False)
