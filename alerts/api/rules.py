"""REST: the rules of a tenant."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import queries, rules
from alerts.errors import (
    AlertChannelUnknown,
    AlertNameTaken,
    AlertRuleInvalid,
    AlertRuleUnknown,
    TooManyAlertRules,
)
from alerts.kinds import NAMES, Kind
from alerts.models import LONGEST_NAME, AlertRule
from foundation.api.fields import (
    Flag,
    Identifier,
    Moment,
    SegmentIdentifier,
    StrictSerializer,
    Uuid,
    WholeNumber,
)
from releases.errors import PipelineUnknown
from releases.models import IDENTITY_LENGTH
from releases.queries import pipeline
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

MOST_CHANNELS = 50
SILENCE = "No messages of the rule are sent until this time. Alerts that still fire then are sent."


class ThresholdsRequest(StrictSerializer):
    """The thresholds of the rule's kind. What is missing has its default, or stays as it is."""

    def get_fields(self) -> dict[str, Any]:
        return {name: WholeNumber(required=False, help_text=f"For {_kinds_with(name)}.") for name in NAMES}


def _kinds_with(name: str) -> str:
    return ", ".join(kind.value for kind in Kind if any(each.name == name for each in kind.thresholds))


def _channel_ids(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=Uuid(), max_length=MOST_CHANNELS, required=False, **options)


class AlertRuleRequest(StrictSerializer):
    name = Identifier(max_length=LONGEST_NAME)
    kind = serializers.ChoiceField(choices=Kind.choices)
    thresholds = ThresholdsRequest(required=False, default=dict)
    pipelineId = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="The pipeline that is looked at. If omitted, all pipelines of the tenant are.",
    )
    channelIds = _channel_ids(default=list)
    enabled = Flag(required=False, default=True)
    silencedUntil = Moment(required=False, allow_null=True, default=None, help_text=SILENCE)


class AlertRuleChange(StrictSerializer):
    """What is missing stays as it is."""

    name = Identifier(max_length=LONGEST_NAME, required=False)
    thresholds = ThresholdsRequest(required=False)
    channelIds = _channel_ids()
    enabled = Flag(required=False)
    silencedUntil = Moment(required=False, allow_null=True, help_text=SILENCE)


class AlertRuleView(serializers.Serializer[AlertRule]):
    ruleId = serializers.UUIDField(source="id")
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    thresholds = serializers.DictField(child=serializers.IntegerField(), help_text="Those of the kind, by name.")
    pipelineId = serializers.CharField(source="pipeline.pipeline_id", default=None, allow_null=True)
    channelIds = serializers.SerializerMethodField()
    enabled = serializers.BooleanField()
    silencedUntil = serializers.DateTimeField(source="silenced_until", allow_null=True)
    createdBy = serializers.CharField(source="created_by")
    createdAt = serializers.DateTimeField(source="created_at")

    def get_channelIds(self, rule: AlertRule) -> list[uuid.UUID]:  # noqa: N802 - the name of a member
        return [channel.pk for channel in rule.channels.all()]


@extend_schema(parameters=[TENANT], tags=["alerts"])
class AlertRules(TenantView, ListAPIView[AlertRule]):
    """The rules of the tenant, the newest first."""

    refusals: ClassVar = {
        "POST": (AlertRuleInvalid, AlertChannelUnknown, PipelineUnknown, AlertNameTaken, TooManyAlertRules)
    }
    serializer_class = AlertRuleView
    ordering = ("-created_at", "-id")
    queryset = AlertRule.objects.none()

    def get_queryset(self) -> Any:
        return queries.rules(self.tenant)

    @declares(Act.ALERT_RULE_ADD, Scope.ACTIVATE)
    @extend_schema(operation_id="addAlertRule", request=AlertRuleRequest, responses={201: AlertRuleView})
    def post(self, request: Request, tenant: str) -> Response:
        """Add a rule. It is judged every 30 seconds."""
        body = AlertRuleRequest.validated(request.data)
        named = body.pop("pipelineId")
        of = pipeline(self.tenant, named) if named is not None else None
        rule = rules.add(self.tenant, pipeline=of, actor=self.actor, **_members(body))
        return Response(AlertRuleView(rule).data, status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class OneAlertRule(TenantView):
    refusals: ClassVar = {
        "GET": (AlertRuleUnknown,),
        "PATCH": (AlertRuleUnknown, AlertRuleInvalid, AlertChannelUnknown, AlertNameTaken),
    }

    @extend_schema(operation_id="alertRule", responses=AlertRuleView)
    def get(self, request: Request, tenant: str, rule_id: uuid.UUID) -> Response:
        """One rule."""
        return Response(AlertRuleView(queries.rule(self.tenant, rule_id)).data)

    @declares(Act.ALERT_RULE_CHANGE, Scope.ACTIVATE)
    @extend_schema(operation_id="changeAlertRule", request=AlertRuleChange, responses=AlertRuleView)
    def patch(self, request: Request, tenant: str, rule_id: uuid.UUID) -> Response:
        """Change a rule. Its kind and its pipeline stay. The alerts of a disabled rule are resolved."""
        body = AlertRuleChange.validated(request.data)
        rule = rules.change(queries.rule(self.tenant, rule_id), actor=self.actor, **_members(body))
        return Response(AlertRuleView(rule).data)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class RemoveAlertRule(TenantView):
    refusals: ClassVar = {"POST": (AlertRuleUnknown,)}

    @declares(Act.ALERT_RULE_REMOVE, Scope.ACTIVATE)
    @extend_schema(operation_id="removeAlertRule", request=None, responses=AlertRuleView)
    def post(self, request: Request, tenant: str, rule_id: uuid.UUID) -> Response:
        """Remove a rule. Its alerts are resolved."""
        rule = queries.rule(self.tenant, rule_id)
        rules.remove(rule, actor=self.actor)
        return Response(AlertRuleView(rule).data)


def _members(body: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a body under the names of the use cases."""
    names = {"channelIds": "channel_ids", "silencedUntil": "silenced_until"}
    return {names.get(name, name): value for name, value in body.items()}


urlpatterns = [
    path("alert-rules", AlertRules.as_view(), name="alert-rules"),
    path("alert-rules/<uuid:rule_id>", OneAlertRule.as_view(), name="alert-rule"),
    path("alert-rules/<uuid:rule_id>/remove", RemoveAlertRule.as_view(), name="remove-alert-rule"),
]
