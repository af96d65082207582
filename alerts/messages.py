"""What a message says, in the form of each kind of channel."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from alerts.kinds import Kind
from alerts.models import Alert, AlertDelivery
from foundation.admin.addresses import page_of

_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True, slots=True)
class Message:
    """A message about an alert, or a test message, which has no alert.

    `about` is the page of what it is about and `page` that of the alert, both empty without PUBLIC_URL. `runbook` is
    empty without ALERT_DOCS_URL.
    """

    delivery_id: str
    state: str
    tenant: str
    title: str
    detail: str
    sent_at: datetime
    alert_id: str = ""
    rule_id: str = ""
    rule: str = ""
    kind: str = ""
    started_at: datetime | None = None
    resolved_at: datetime | None = None
    page: str = ""
    about: str = ""
    runbook: str = ""

    @property
    def is_test(self) -> bool:
        return self.state == AlertDelivery.Kind.TEST

    @property
    def headline(self) -> str:
        """The message on one line."""
        return " ".join(f"[{self.state}] {self.tenant}: {self.title}".split())

    def document(self) -> dict[str, Any]:
        """Return the body of a webhook."""
        return {
            "type": "alert",
            "test": self.is_test,
            "deliveryId": self.delivery_id,
            "tenantId": self.tenant,
            "state": self.state,
            "alertId": self.alert_id or None,
            "rule": {"id": self.rule_id, "name": self.rule, "kind": self.kind} if self.rule_id else None,
            "title": self.title,
            "detail": self.detail,
            "startedAt": self.started_at.isoformat() if self.started_at else None,
            "resolvedAt": self.resolved_at.isoformat() if self.resolved_at else None,
            "sentAt": self.sent_at.isoformat(),
            "links": {"alert": self.page or None, "about": self.about or None, "runbook": self.runbook or None},
        }

    def slack(self) -> dict[str, Any]:
        """Return the body for a Slack-compatible URL. Texts are escaped, so that they mention no one."""
        links = [f"<{url}|{label}>" for label, url in self._links() if url]
        lines = [f"*{self.headline.translate(_SLACK)}*", self.detail.translate(_SLACK), " · ".join(links)]
        return {"text": "\n".join(filter(None, lines))}

    def text(self) -> str:
        """Return the body of an e-mail."""
        facts = [
            ("Rule", f"{self.rule} ({self.kind})" if self.rule else ""),
            ("Started", f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC" if self.started_at else ""),
            ("Resolved", f"{self.resolved_at:%Y-%m-%d %H:%M:%S} UTC" if self.resolved_at else ""),
            *self._links(),
        ]
        lines = [self.title, self.detail, "", *(f"{name}: {value}" for name, value in facts if value)]
        return "\n".join(lines) + "\n"

    def _links(self) -> list[tuple[str, str]]:
        return [("Alert", self.page), ("About", self.about), ("Runbook", self.runbook)]


def message_of(delivery: AlertDelivery) -> Message:
    """Return what a delivery says now. Its channel, tenant, alert and rule are loaded."""
    common: dict[str, Any] = {
        "delivery_id": str(delivery.pk),
        "state": delivery.kind,
        "tenant": delivery.tenant.slug,
        "sent_at": timezone.now(),
    }
    alert = delivery.alert
    if alert is None:
        title = f"Test message to the channel {delivery.channel.name}"
        return Message(**common, title=title, detail="A person sent it. Nothing is wrong.")
    return Message(
        **common,
        title=alert.title,
        detail=alert.detail,
        alert_id=str(alert.pk),
        rule_id=str(alert.rule_id),
        rule=alert.rule.name,
        kind=alert.rule.kind,
        started_at=alert.started_at,
        resolved_at=alert.resolved_at,
        page=_page(page_of(Alert, alert.pk)),
        about=_page(alert.path),
        runbook=runbook_of(Kind(alert.rule.kind)),
    )


def _page(path: str) -> str:
    return f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else ""


def runbook_of(kind: Kind) -> str:
    """Return the address of the runbook; "" without ALERT_DOCS_URL."""
    return f"{settings.ALERT_DOCS_URL}/{kind.runbook}" if settings.ALERT_DOCS_URL else ""
