"""The page of the kinds of alert rules and channels."""

import json
from typing import Any, Final

from alerts.kinds import Kind, Threshold
from alerts.models import AlertChannel
from docs.generators.markdown import code, joined, table

HEAD: Final = """\
# Alerts

The kinds of rules that look for problems in a tenant, and the kinds of channels that receive messages about them. Every
rule is judged every 30 seconds, for all pipelines of its tenant or for one. [Set up
alerts](../how-to/set-up-alerts.md) says how to add both.
"""
THRESHOLDS: Final = """\
## Thresholds

The member `thresholds` of a rule names those that differ from the defaults.
"""
OF_CHANNELS: Final = {
    AlertChannel.Kind.WEBHOOK: ("a URL", "optional: the key that signs the requests"),
    AlertChannel.Kind.EMAIL: ("one to ten addresses, separated by commas", "none"),
    AlertChannel.Kind.SLACK: ("none", 'the URL of the Slack channel, or of any receiver of `{"text": …}`'),
}
MESSAGE: Final[dict[str, Any]] = {
    "type": "alert",
    "test": False,
    "deliveryId": "6d0c…",
    "tenantId": "acme",
    "state": "FIRING",
    "alertId": "0b7e…",
    "rule": {"id": "51f2…", "name": "orders fail", "kind": "failureRate"},
    "title": "31 % of the executions of org.example.orders fail",
    "detail": "31 of 100 executions that ended within 15 minutes failed.",
    "startedAt": "2026-11-27T12:00:00+00:00",
    "resolvedAt": None,
    "sentAt": "2026-11-27T12:00:02+00:00",
    "links": {"alert": "https://…", "about": "https://…", "recovery": "https://…", "runbook": "https://…"},
}
"""An example of what a webhook gets."""
MEMBERS: Final = """\
`state` is `FIRING`, `RESOLVED` or `TEST`. A test message has no alert and no rule. Links are null without `PUBLIC_URL`
and, for the runbook, `ALERT_DOCS_URL`. Messages contain names, codes and numbers, and no payloads.
"""


def page() -> str:
    kinds = [(code(str(kind.value)), kind.purpose, f"[{kind.label}](../{kind.runbook})") for kind in Kind]
    thresholds = [(code(str(kind.value)), *_described(threshold)) for kind in Kind for threshold in kind.thresholds]
    channels = [(code(str(kind.value)), *OF_CHANNELS[kind]) for kind in AlertChannel.Kind]
    return joined(
        *(HEAD, "## Kinds of rules", table(("kind", "fires when", "runbook"), kinds)),
        *(THRESHOLDS, table(("kind", "threshold", "values", "default", "meaning"), thresholds)),
        *("## Channels", table(("kind", "address", "secret"), channels)),
        *("## Webhooks", f"```json\n{json.dumps(MESSAGE, indent=2, ensure_ascii=False)}\n```", MEMBERS),
    )


def _described(threshold: Threshold) -> tuple[str, ...]:
    bounds = f"{threshold.least:,} to {threshold.most:,}"
    meaning = f"{threshold.meaning[0].upper()}{threshold.meaning[1:]}."
    return (code(threshold.name), bounds, f"{threshold.default:,}", meaning)
