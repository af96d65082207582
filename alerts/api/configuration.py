"""REST: the channels of a tenant with test messages to them, and its rules."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import channels, deliveries, queries, rules
from alerts.api.alerts import AlertDeliveryView
from alerts.errors import (
    AlertChannelDisabled,
    AlertChannelInvalid,
    AlertChannelUnknown,
    AlertNameTaken,
    AlertRuleInvalid,
    AlertRuleUnknown,
    TooManyAlertRules,
)
from alerts.kinds import NAMES, Kind
from alerts.models import LONGEST_ADDRESS, LONGEST_NAME, AlertChannel, AlertRule
from foundation.api.fields import (
    Flag,
    Identifier,
    Moment,
    SegmentIdentifier,
    StrictSerializer,
    Text,
    Uuid,
    WholeNumber,
)
from releases.errors import PipelineUnknown
from releases.models import IDENTITY_LENGTH
from releases.queries import pipeline
from tenancy.api.tenant_view import TENANT, TenantView
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

ADDRESS_HELP = "The URL of a webhook, or e-mail addresses, separated by commas. Empty for Slack."
NAME_OF_KEY = (
    "The name of a secret in ALERT_SECRETS: the URL of a Slack channel, or the key that signs a webhook. A webhook "
    "without one is signed with the webhook key of the tenant."
)


class AlertChannelRequest(StrictSerializer):
    name = Identifier(max_length=LONGEST_NAME)
    kind = serializers.ChoiceField(choices=AlertChannel.Kind.choices)
    address = Text(max_length=LONGEST_ADDRESS, required=False, allow_blank=True, default="", help_text=ADDRESS_HELP)
    secret = Text(max_length=100, required=False, allow_blank=True, default="", help_text=NAME_OF_KEY)
    enabled = Flag(required=False, default=True)


class AlertChannelChange(StrictSerializer):
    """What is missing stays as it is."""

    name = Identifier(max_length=LONGEST_NAME, required=False)
    address = Text(max_length=LONGEST_ADDRESS, required=False, allow_blank=True, help_text=ADDRESS_HELP)
    secret = Text(max_length=100, required=False, allow_blank=True, help_text=NAME_OF_KEY)
    enabled = Flag(required=False)


class AlertChannelView(serializers.Serializer[AlertChannel]):
    channelId = serializers.UUIDField(source="id")
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=AlertChannel.Kind.choices)
    address = serializers.CharField(source="shown_address", help_text="Of a URL only the origin.")
    secret = serializers.CharField(help_text="The name of the secret.")
    enabled = serializers.BooleanField()
    createdBy = serializers.CharField(source="created_by")
    createdAt = serializers.DateTimeField(source="created_at")


class OneAlertChannelView(AlertChannelView):
    deliveries = serializers.SerializerMethodField(help_text="The newest messages, at most 20.")

    @extend_schema_field(AlertDeliveryView(many=True))
    def get_deliveries(self, channel: AlertChannel) -> Any:
        newest: Any = queries.newest_deliveries(channel)
        return AlertDeliveryView(newest, many=True).data


@extend_schema(parameters=[TENANT], tags=["alerts"])
class AlertChannels(TenantView, ListAPIView[AlertChannel]):
    """The channels to which messages of alerts go, the newest first."""

    refusals: ClassVar = {"POST": (AlertChannelInvalid, AlertNameTaken, TooManyAlertRules)}
    serializer_class = AlertChannelView
    ordering = ("-created_at", "-id")
    queryset = AlertChannel.objects.none()

    def get_queryset(self) -> Any:
        return queries.channels(self.tenant)

    @declares(Act.ALERT_CHANNEL_ADD, Scope.ACTIVATE)
    @extend_schema(operation_id="addAlertChannel", request=AlertChannelRequest, responses={201: OneAlertChannelView})
    def post(self, request: Request, tenant: str) -> Response:
        """Add a channel. Send a test message to it before a rule needs it."""
        body = AlertChannelRequest.validated(request.data)
        channel = channels.add(self.tenant, actor=self.actor, **body)
        return Response(OneAlertChannelView(channel).data, status=status.HTTP_201_CREATED)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class OneAlertChannel(TenantView):
    refusals: ClassVar = {
        "GET": (AlertChannelUnknown,),
        "PATCH": (AlertChannelUnknown, AlertChannelInvalid, AlertNameTaken),
    }

    @extend_schema(operation_id="alertChannel", responses=OneAlertChannelView)
    def get(self, request: Request, tenant: str, channel_id: uuid.UUID) -> Response:
        """One channel with its newest messages."""
        return Response(OneAlertChannelView(queries.channel(self.tenant, channel_id)).data)

    @declares(Act.ALERT_CHANNEL_CHANGE, Scope.ACTIVATE)
    @extend_schema(operation_id="changeAlertChannel", request=AlertChannelChange, responses=OneAlertChannelView)
    def patch(self, request: Request, tenant: str, channel_id: uuid.UUID) -> Response:
        """Change a channel. Its kind stays."""
        body = AlertChannelChange.validated(request.data)
        channel = channels.change(queries.channel(self.tenant, channel_id), actor=self.actor, **body)
        return Response(OneAlertChannelView(channel).data)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class RemoveAlertChannel(TenantView):
    refusals: ClassVar = {"POST": (AlertChannelUnknown,)}

    @declares(Act.ALERT_CHANNEL_REMOVE, Scope.ACTIVATE)
    @extend_schema(operation_id="removeAlertChannel", request=None, responses=AlertChannelView)
    def post(self, request: Request, tenant: str, channel_id: uuid.UUID) -> Response:
        """Remove a channel from all rules. Messages that were not sent fail."""
        channel = queries.channel(self.tenant, channel_id)
        channels.remove(channel, actor=self.actor)
        return Response(AlertChannelView(channel).data)


@extend_schema(parameters=[TENANT], tags=["alerts"])
class SendTestMessage(TenantView):
    refusals: ClassVar = {"POST": (AlertChannelUnknown, AlertChannelDisabled)}

    @declares(Act.ALERT_CHANNEL_TEST, Scope.ACTIVATE)
    @extend_schema(operation_id="testAlertChannel", request=None, responses={202: AlertDeliveryView})
    def post(self, request: Request, tenant: str, channel_id: uuid.UUID) -> Response:
        """Send a test message now. The channel shows whether it was accepted. It is tried once."""
        delivery = deliveries.test(queries.channel(self.tenant, channel_id), actor=self.actor)
        return Response(AlertDeliveryView(delivery).data, status=status.HTTP_202_ACCEPTED)


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
    path("alert-channels", AlertChannels.as_view(), name="alert-channels"),
    path("alert-channels/<uuid:channel_id>", OneAlertChannel.as_view(), name="alert-channel"),
    path("alert-channels/<uuid:channel_id>/remove", RemoveAlertChannel.as_view(), name="remove-alert-channel"),
    path("alert-channels/<uuid:channel_id>/test", SendTestMessage.as_view(), name="test-alert-channel"),
    path("alert-rules", AlertRules.as_view(), name="alert-rules"),
    path("alert-rules/<uuid:rule_id>", OneAlertRule.as_view(), name="alert-rule"),
    path("alert-rules/<uuid:rule_id>/remove", RemoveAlertRule.as_view(), name="remove-alert-rule"),
]
