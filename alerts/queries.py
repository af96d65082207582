"""Reads alerts, rules and channels of a tenant. The caller has checked access to the tenant."""

import uuid
from typing import Final, TypeVar

from django.db.models import Model, Prefetch, QuerySet

from alerts.errors import AlertChannelUnknown, AlertRuleUnknown, AlertUnknown
from alerts.models import Alert, AlertChannel, AlertDelivery, AlertRule
from foundation.errors import CoordinatorError
from tenancy.models import Tenant

Row = TypeVar("Row", bound=Model)
DELIVERIES_SHOWN: Final = 20
_LIVE_CHANNELS = Prefetch("channels", AlertChannel.objects.filter(removed_at=None))


def rules(tenant: Tenant) -> QuerySet[AlertRule]:
    """Return the rules that were not removed, each with its channels."""
    rows = AlertRule.objects.filter(tenant=tenant, removed_at=None)
    return rows.select_related("tenant", "pipeline").prefetch_related(_LIVE_CHANNELS)


def rule(tenant: Tenant, rule_id: uuid.UUID) -> AlertRule:
    """Return one rule. Raises `AlertRuleUnknown`."""
    return _one(rules(tenant), rule_id, AlertRuleUnknown(f"There is no alert rule {rule_id}."))


def channels(tenant: Tenant) -> QuerySet[AlertChannel]:
    """Return the channels that were not removed."""
    return AlertChannel.objects.filter(tenant=tenant, removed_at=None).select_related("tenant")


def channel(tenant: Tenant, channel_id: uuid.UUID) -> AlertChannel:
    """Return one channel. Raises `AlertChannelUnknown`."""
    return _one(channels(tenant), channel_id, AlertChannelUnknown(f"There is no alert channel {channel_id}."))


def alerts(tenant: Tenant) -> QuerySet[Alert]:
    """Return all alerts, each with its rule."""
    return Alert.objects.filter(tenant=tenant).select_related("tenant", "rule__pipeline")


def alert(tenant: Tenant, alert_id: uuid.UUID) -> Alert:
    """Return one alert. Raises `AlertUnknown`."""
    return _one(alerts(tenant), alert_id, AlertUnknown(f"There is no alert {alert_id}."))


def _one(rows: QuerySet[Row], key: uuid.UUID, unknown: CoordinatorError) -> Row:
    found = rows.filter(pk=key).first()
    if found is None:
        raise unknown
    return found


def newest_deliveries(of: Alert | AlertChannel) -> list[AlertDelivery]:
    """Return the newest deliveries of an alert or to a channel, the newest first."""
    rows = of.deliveries.select_related("channel", "alert").order_by("-created_at", "-id")
    return list(rows[:DELIVERIES_SHOWN])
