"""REST: the alerts of a tenant with their messages, and their silences."""

import uuid
from datetime import datetime
from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from alerts import queries
from alerts.errors import AlertIsResolved, AlertUnknown
from alerts.evaluation import silence
from alerts.kinds import Kind
from alerts.models import Alert, AlertDelivery, AlertEvent
from foundation.api.fields import Moment, StrictSerializer
from tenancy.api.operations import listing, operation, refuses
from tenancy.api.tenant_view import TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope


class SilenceRequest(StrictSerializer):
    until = Moment(allow_null=True, help_text="The end of the silence. Null ends it now.")


class AlertEventView(serializers.Serializer[AlertEvent]):
    kind = serializers.ChoiceField(choices=AlertEvent.Kind.choices)
    actor = serializers.CharField()
    at = serializers.DateTimeField()


class AlertDeliveryView(serializers.Serializer[AlertDelivery]):
    deliveryId = serializers.UUIDField(source="id")
    channelId = serializers.UUIDField(source="channel_id")
    alertId = serializers.UUIDField(source="alert_id", allow_null=True, help_text="Null for a test message.")
    kind = serializers.ChoiceField(choices=AlertDelivery.Kind.choices)
    state = serializers.ChoiceField(choices=AlertDelivery.State.choices)
    attempts = serializers.IntegerField()
    nextAttemptAt = serializers.DateTimeField(source="next_at", help_text="While it is PENDING.")
    error = serializers.CharField(help_text="Why the newest attempt failed. Empty if none has.")
    createdAt = serializers.DateTimeField(source="created_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)


class AlertView(serializers.Serializer[Alert]):
    alertId = serializers.UUIDField(source="id")
    ruleId = serializers.UUIDField(source="rule_id")
    ruleName = serializers.CharField(source="rule.name")
    kind = serializers.ChoiceField(choices=Kind.choices, source="rule.kind")
    state = serializers.ChoiceField(choices=Alert.State.choices)
    subject = serializers.CharField(help_text="What it is about. A rule has one firing alert of a subject.")
    title = serializers.CharField()
    detail = serializers.CharField()
    page = serializers.CharField(source="path", help_text="The path of the admin's page about it.")
    startedAt = serializers.DateTimeField(source="started_at")
    resolvedAt = serializers.DateTimeField(source="resolved_at", allow_null=True)
    silencedUntil = serializers.DateTimeField(source="silenced_until", allow_null=True)
    silencedBy = serializers.CharField(source="silenced_by", help_text="Empty without a silence.")


class OneAlertView(AlertView):
    events = AlertEventView(many=True)
    deliveries = serializers.SerializerMethodField(help_text="The newest messages, at most 20.")

    @extend_schema_field(AlertDeliveryView(many=True))
    def get_deliveries(self, alert: Alert) -> Any:
        newest: Any = queries.newest_deliveries(alert)
        return AlertDeliveryView(newest, many=True).data


class AlertFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=Alert.State.choices)
    kind = filters.ChoiceFilter(choices=Kind.choices, field_name="rule__kind")
    ruleId = filters.UUIDFilter(field_name="rule")


@listing("alerts", Alert, AlertView, AlertFilter, ordering=("-started_at", "-id"))
def alerts(view: TenantView) -> Any:
    """The alerts of the tenant, the newest first."""
    return queries.alerts(view.tenant)


@operation("alerts", "alert", OneAlertView, method="GET")
@refuses(AlertUnknown)
def one_alert(view: TenantView, alert_id: uuid.UUID) -> Any:
    """One alert with its events and its newest messages."""
    return queries.alert(view.tenant, alert_id)


@operation("alerts", "silenceAlert", OneAlertView, body=SilenceRequest)
@declares(Act.ALERT_SILENCE, Scope.OPERATE)
@refuses(AlertUnknown, AlertIsResolved)
def silence_alert(view: TenantView, alert_id: uuid.UUID, until: datetime | None) -> Any:
    """Silence a firing alert: no further message about it is sent until then."""
    return silence(queries.alert(view.tenant, alert_id), until=until, actor=view.actor)


urlpatterns = [
    path("alerts", alerts, name="alerts"),
    path("alerts/<uuid:alert_id>", one_alert, name="alert"),
    path("alerts/<uuid:alert_id>/silence", silence_alert, name="silence-alert"),
]
