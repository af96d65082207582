"""Adds, changes and removes the rules of a tenant."""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Now

from alerts import channels
from alerts.channels import AlertChannelUnknown, TooManyAlertRules, named_once, wrong_name
from alerts.kinds import Kind, complete, wrong_thresholds
from alerts.models import AlertChannel, AlertRule, RuleChannel
from foundation.errors import BadRequest, NotFound, require_valid
from releases.models import Pipeline
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

MOST_RULES: Final = 100
_CHANGING = ("name", "thresholds", "enabled", "silenced_until")
_CHANNELS = Prefetch("channels", AlertChannel.objects.filter(removed_at=None))


class AlertRuleUnknown(NotFound, title="The tenant has no such alert rule"):
    """Check the id in the list of rules."""


class AlertRuleInvalid(BadRequest, title="The alert rule is not valid"):
    """Correct the members that `errors` names."""


def kept(tenant: Tenant) -> QuerySet[AlertRule]:
    """Return the rules that were not removed, each with its channels. The caller has checked access to the tenant."""
    rows = AlertRule.objects.filter(tenant=tenant, removed_at=None)
    return rows.select_related("tenant", "pipeline").prefetch_related(_CHANNELS)


def rule_of(tenant: Tenant, rule_id: uuid.UUID) -> AlertRule:
    """Return a rule that was not removed, with its channels. Raises `AlertRuleUnknown`."""
    rule = kept(tenant).filter(pk=rule_id).first()
    if rule is None:
        raise AlertRuleUnknown(f"There is no alert rule {rule_id}.")
    return rule


def add(
    tenant: Tenant,
    *,
    name: str,
    kind: str,
    thresholds: Mapping[str, Any] | None = None,
    pipeline: Pipeline | None = None,
    channel_ids: Collection[uuid.UUID] = (),
    enabled: bool = True,
    silenced_until: datetime | None = None,
    actor: str,
) -> AlertRule:
    """Add a rule. Thresholds that are not named get their defaults. The pipeline is one of the tenant.

    Raises `AlertRuleInvalid`, `AlertChannelUnknown`, `AlertNameTaken` and `TooManyAlertRules`.
    """
    rule = AlertRule(tenant=tenant, kind=kind, pipeline=pipeline, created_by=actor)
    values = {"name": name, "thresholds": thresholds or {}, "enabled": enabled, "silenced_until": silenced_until}
    _assign(rule, values)
    linked = _channels(tenant, channel_ids)
    if kept(tenant).count() >= MOST_RULES:
        raise TooManyAlertRules(f"A tenant has at most {MOST_RULES} alert rules.")
    with named_once(rule.name), transaction.atomic():
        rule.save(force_insert=True)
        _link(rule, linked)
        _record(Act.ALERT_RULE_ADD, rule, actor, kind=rule.kind, thresholds=rule.thresholds)
    return rule_of(tenant, rule.pk)


def change(
    rule: AlertRule, *, actor: str, channel_ids: Collection[uuid.UUID] | None = None, **changes: Any
) -> AlertRule:
    """Change the named members of a rule: its name, thresholds, channels, silence, or whether it is enabled.

    Thresholds that are not named stay as they are. Raises `AlertRuleInvalid`, `AlertChannelUnknown`, `AlertNameTaken`,
    and `AlertRuleUnknown` if the rule was removed.
    """
    if "thresholds" in changes:
        changes["thresholds"] = {**rule.thresholds, **changes["thresholds"]}
    _assign(rule, changes)
    values = {name: getattr(rule, name) for name in _CHANGING if name in changes}
    linked = None if channel_ids is None else _channels(rule.tenant, channel_ids)
    with named_once(rule.name), transaction.atomic():
        _require_kept(rule)
        if values:
            AlertRule.objects.filter(pk=rule.pk).update(**values)
        if linked is not None:
            RuleChannel.objects.filter(rule=rule).delete()
            _link(rule, linked)
        changed = sorted([*values, *(["channels"] if linked is not None else [])])
        _record(Act.ALERT_RULE_CHANGE, rule, actor, changed=changed, thresholds=rule.thresholds)
    return rule_of(rule.tenant, rule.pk)


def remove(rule: AlertRule, *, actor: str) -> AlertRule:
    """Remove a rule, and return it. Its alerts are resolved at the next evaluation.

    Raises `AlertRuleUnknown` if it was removed.
    """
    with transaction.atomic():
        _require_kept(rule)
        AlertRule.objects.filter(pk=rule.pk).update(removed_at=Now())
        _record(Act.ALERT_RULE_REMOVE, rule, actor)
    return rule


def _require_kept(rule: AlertRule) -> None:
    """Lock the rule. Raises `AlertRuleUnknown` if it was removed."""
    if not AlertRule.objects.filter(pk=rule.pk, removed_at=None).select_for_update(of=("self",)).exists():
        raise AlertRuleUnknown(f"There is no alert rule {rule.pk}.")


def _assign(rule: AlertRule, changes: dict[str, Any]) -> None:
    for name in _CHANGING:
        if name in changes:
            value = changes[name]
            setattr(rule, name, value.strip() if isinstance(value, str) else value)
    kind = Kind(rule.kind)
    wrong = {f"thresholds.{name}": text for name, text in wrong_thresholds(kind, rule.thresholds).items()}
    require_valid(AlertRuleInvalid, {"name": wrong_name(rule.name), **wrong})
    rule.thresholds = complete(kind, rule.thresholds)


def _channels(tenant: Tenant, channel_ids: Collection[uuid.UUID]) -> list[AlertChannel]:
    chosen = list(channels.kept(tenant).filter(pk__in=channel_ids))
    unknown = set(channel_ids) - {channel.pk for channel in chosen}
    if unknown:
        raise AlertChannelUnknown(f"There is no alert channel {min(unknown)}.")
    return chosen


def _link(rule: AlertRule, linked: Collection[AlertChannel]) -> None:
    RuleChannel.objects.bulk_create([RuleChannel(rule=rule, channel=channel) for channel in linked])


def _record(act: Act, rule: AlertRule, actor: str, **details: Any) -> None:
    audit.record(act, tenant=rule.tenant, actor=actor, object=rule.name, **details)
