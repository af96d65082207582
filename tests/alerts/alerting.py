from typing import Any

from alerts import channels, deliveries, evaluation, rules
from alerts.models import Alert, AlertChannel, AlertDelivery, AlertRule
from executions.failures.queries import change
from executions.models import Execution, FailureGroup
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import run

ACTOR = "user:test"


def channel(owner: Tenant, url: str = "http://127.0.0.1:1/hook", name: str = "hook", **members: Any) -> AlertChannel:
    return channels.add(owner, **{"name": name, "kind": "webhook", "address": url, "actor": ACTOR, **members})


def rule(owner: Tenant, kind: str = "newFailureGroup", *to: AlertChannel, **members: Any) -> AlertRule:
    return rules.add(
        owner, kind=kind, **{"name": kind, "channel_ids": [recipient.pk for recipient in to], "actor": ACTOR, **members}
    )


def fired(owner: Tenant, *to: AlertChannel, **members: Any) -> Alert:
    """Make a rule and let it fire. The tenant has an active release with a worker, and no due work."""
    made = rule(owner, "newFailureGroup", *to, **members)
    making.dead(owner, f"dead-{made.pk}")
    return of_failures(made)


def of_failures(made: AlertRule) -> Alert:
    evaluation.evaluate_rule(made)
    return Alert.objects.select_related("tenant", "rule").get(rule=made)


def judged(made: AlertRule) -> list[tuple[str, str]]:
    evaluation.evaluate_rule(AlertRule.objects.select_related("tenant", "pipeline").get(pk=made.pk))
    return list(Alert.objects.filter(rule=made).order_by("state").values_list("state", "title"))


def acknowledge(owner: Tenant) -> None:
    for group in FailureGroup.objects.filter(tenant=owner):
        change(owner, group.pk, actor=ACTOR, acknowledged=True)


def end_condition(alert: Alert) -> None:
    acknowledge(alert.tenant)
    judged(alert.rule)
    let_clear(alert)


def let_clear(alert: Alert) -> None:
    """Let a minute pass since the condition of the alert was not met any more."""
    run("UPDATE alerts_alert SET clear_since = clear_since - interval '61 seconds' WHERE id = %s", alert.pk)


def make_due(delivery: AlertDelivery) -> None:
    run("UPDATE alerts_alertdelivery SET next_at = now() WHERE id = %s", delivery.pk)


def sent_all() -> int:
    count = 0
    while deliveries.OUTBOX.send():
        count += 1
    return count


def states(alert: Alert) -> list[tuple[str, str]]:
    return list(alert.deliveries.order_by("kind").values_list("kind", "state"))


def ended(owner: Tenant, key: str = "key", **members: Any) -> Execution:
    """Submit an execution, and let it succeed."""
    made = making.submitted(owner, key, **members)
    [claim] = making.claimed(owner)
    making.record(making.outcome_of(claim))
    return Execution.objects.get(pk=made.execution_id)
