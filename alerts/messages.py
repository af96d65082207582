"""What the message of a delivery says now, in the form of each kind of channel.

The channel, the tenant, the alert and the rule of the delivery are loaded. A test message has no alert.
"""

from typing import Any

from django.conf import settings
from django.utils import timezone

from alerts.kinds import Kind
from alerts.models import Alert, AlertDelivery, page_of

_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def headline(delivery: AlertDelivery) -> str:
    """Return the message on one line."""
    return " ".join(f"[{delivery.kind}] {delivery.tenant.slug}: {_title(delivery)}".split())


def document(delivery: AlertDelivery) -> dict[str, Any]:
    """Return the body of a webhook."""
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


def slack(delivery: AlertDelivery) -> dict[str, Any]:
    """Return the body for a Slack-compatible URL. Texts are escaped, so that they mention no one."""
    links = [f"<{url}|{label}>" for label, url in _links(delivery.alert) if url]
    lines = [f"*{headline(delivery).translate(_SLACK)}*", _detail(delivery).translate(_SLACK), " · ".join(links)]
    return {"text": "\n".join(filter(None, lines))}


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
    """Return the pages of the alert and of what it is about, "" without PUBLIC_URL, and the runbook."""
    if alert is None:
        return [("Alert", ""), ("About", ""), ("Runbook", "")]
    paths = (page_of(Alert, alert.pk), alert.path)
    page, about = (f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else "" for path in paths)
    return [
        ("Alert", page),
        ("About", about),
        ("Runbook", runbook_of(Kind(alert.rule.kind))),
    ]
