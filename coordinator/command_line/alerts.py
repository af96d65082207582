"""`coordinator alerts`: alerts, their rules and channels."""

from datetime import datetime
from typing import Annotated, Final

import typer

from coordinator.command_line.arguments import Limit
from coordinator.command_line.client import Request, path
from coordinator.command_line.commands import changing, noun, reading
from coordinator.command_line.session import Session

app = noun("alerts", "List and silence alerts, and send test messages. `coordinator apply` changes rules and channels.")
_ALERTS: Final = [
    ("ALERT", "alertId"),
    ("STATE", "state"),
    ("RULE", "ruleName"),
    ("SUBJECT", "subject"),
    ("TITLE", "title"),
    ("STARTED", "startedAt"),
    ("SILENCED UNTIL", "silencedUntil"),
]
_RULES: Final = [
    ("RULE", "ruleId"),
    ("NAME", "name"),
    ("KIND", "kind"),
    ("THRESHOLDS", "thresholds"),
    ("PIPELINE", "pipelineId"),
    ("ENABLED", "enabled"),
    ("SILENCED UNTIL", "silencedUntil"),
]
_CHANNELS: Final = [
    ("CHANNEL", "channelId"),
    ("NAME", "name"),
    ("KIND", "kind"),
    ("ADDRESS", "address"),
    ("ENABLED", "enabled"),
]
AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="The alert's id.", show_default=False)]


@reading(app, "list")
def list_alerts(
    session: Session,
    state: Annotated[str, typer.Option(help='Only in this state; "" for all.')] = "FIRING",
    kind: Annotated[str | None, typer.Option(help="Only of this kind, such as stranded.", show_default=False)] = None,
    limit: Limit = 50,
) -> None:
    """List alerts, newest first."""
    session.list(_ALERTS, "alerts", limit, state=state or None, kind=kind)


@reading(app, "show")
def show_alert(session: Session, alert: AlertId) -> None:
    """Show an alert with its events and its newest messages."""
    session.show(path("alerts", alert))


@changing(app, "silence")
def silence(
    session: Session,
    alert: AlertId,
    until: Annotated[datetime | None, typer.Option(help="Until when. Default: end the silence.")] = None,
) -> None:
    """Send no messages about a firing alert until a time."""
    body = {"until": until.astimezone().isoformat() if until else None}
    session.act(Request("POST", path("alerts", alert, "silence"), body=body))


@reading(app, "rules")
def rules(session: Session, limit: Limit = 100) -> None:
    """List the rules of the tenant."""
    session.list(_RULES, "alert-rules", limit)


@reading(app, "channels")
def channels(session: Session, limit: Limit = 100) -> None:
    """List the channels to which messages of alerts go."""
    session.list(_CHANNELS, "alert-channels", limit)


@changing(app, "test")
def test_channel(
    session: Session, channel: Annotated[str, typer.Argument(help="The channel's id.", show_default=False)]
) -> None:
    """Send a test message to a channel."""
    session.act(Request("POST", path("alert-channels", channel, "test")))
