"""REST: the alerts of a tenant with their messages, and their silences."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import queries
from alerts.errors import AlertIsResolved, AlertUnknown
from alerts.evaluation import silence
from alerts.kinds import Kind
from alerts.models import Alert, AlertDelivery, AlertEvent
from foundation.api.fields import Moment, StrictSerializer
from tenancy.api.tenant_view import TENANT, TenantView
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


@extend_schema(parameters=[TENANT], tags=["alerts"])
class Alerts(TenantView, ListAPIView[Alert]):
    """The alerts of the tenant, the newest first."""

    serializer_class = AlertView
    filterset_class = AlertFilter
    ordering = ("-started_at", "-id")
    queryset = Alert.objects.none()

    def get_queryset(self) -> Any:
        return queries.alerts(self.tenant)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class OneAlert(TenantView):
    refusals: ClassVar = {"GET": (AlertUnknown,)}

    @extend_schema(operation_id="alert", responses=OneAlertView)
    def get(self, request: Request, tenant: str, alert_id: uuid.UUID) -> Response:
        """One alert with its events and its newest messages."""
        return Response(OneAlertView(queries.alert(self.tenant, alert_id)).data)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class SilenceAlert(TenantView):
    refusals: ClassVar = {"POST": (AlertUnknown, AlertIsResolved)}

    @declares(Act.ALERT_SILENCE, Scope.OPERATE)
    @extend_schema(operation_id="silenceAlert", request=SilenceRequest, responses=OneAlertView)
    def post(self, request: Request, tenant: str, alert_id: uuid.UUID) -> Response:
        """Silence a firing alert: no further message about it is sent until then."""
        body = SilenceRequest.validated(request.data)
        alert = silence(queries.alert(self.tenant, alert_id), until=body["until"], actor=self.actor)
        return Response(OneAlertView(alert).data)


urlpatterns = [
    path("alerts", Alerts.as_view(), name="alerts"),
    path("alerts/<uuid:alert_id>", OneAlert.as_view(), name="alert"),
    path("alerts/<uuid:alert_id>/silence", SilenceAlert.as_view(), name="silence-alert"),
]
