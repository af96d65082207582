"""REST: the alerts of a tenant with their messages and silences, its channels, and its rules."""

import uuid
from datetime import datetime
from typing import Any

from django.urls import path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from alerts import channels, deliveries, evaluation, rules
from alerts.channels import (
    AlertChannelInPolicy,
    AlertChannelInvalid,
    AlertChannelUnknown,
    AlertNameTaken,
    TooManyAlertRules,
)
from alerts.deliveries import AlertChannelDisabled
from alerts.evaluation import AlertIsResolved, AlertUnknown
from alerts.kinds import NAMES, Kind
from alerts.models import LONGEST_ADDRESS, LONGEST_NAME, Alert, AlertChannel, AlertDelivery, AlertEvent, AlertRule
from alerts.recoveries import recovery_path
from alerts.rules import AlertRuleInvalid, AlertRuleUnknown
from executions.models import Notification
from executions.models.states import TERMINAL
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
from tenancy.api.operations import TenantView, either, listing, operation, refuses
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
    recovery = serializers.SerializerMethodField(
        help_text="The path of the admin's page that guides through the recovery from the release that fails. Empty if "
        "there is none."
    )
    events = AlertEventView(many=True)
    deliveries = serializers.SerializerMethodField(help_text="The newest messages, at most 20.")

    def get_recovery(self, alert: Alert) -> str:
        return recovery_path(alert)

    @extend_schema_field(AlertDeliveryView(many=True))
    def get_deliveries(self, alert: Alert) -> Any:
        newest: Any = deliveries.newest(alert)
        return AlertDeliveryView(newest, many=True).data


class AlertFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=Alert.State.choices)
    kind = filters.ChoiceFilter(choices=Kind.choices, field_name="rule__kind")
    ruleId = filters.UUIDFilter(field_name="rule", help_text="Only of this rule.")


@listing("alerts", Alert, AlertView, AlertFilter, ordering=("-started_at", "-id"))
def alerts(view: TenantView) -> Any:
    """The alerts of the tenant, the newest first."""
    return evaluation.alerts(view.tenant)


@operation("alerts", "alert", OneAlertView, method="GET")
@refuses(AlertUnknown)
def one_alert(view: TenantView, alert_id: uuid.UUID) -> Any:
    """One alert with its events and its newest messages."""
    return evaluation.alert(view.tenant, alert_id)


@operation("alerts", "silenceAlert", OneAlertView, body=SilenceRequest)
@declares(Act.ALERT_SILENCE, Scope.OPERATE)
@refuses(AlertUnknown, AlertIsResolved)
def silence_alert(view: TenantView, alert_id: uuid.UUID, until: datetime | None) -> Any:
    """Silence a firing alert: no further message about it is sent until then."""
    return evaluation.silence(evaluation.alert(view.tenant, alert_id), until=until, actor=view.actor)


# --- channels ---


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
    enabled = Flag(required=False, default=True, help_text="False to send nothing.")


class AlertChannelChange(StrictSerializer):
    """What is missing stays as it is."""

    name = Identifier(max_length=LONGEST_NAME, required=False)
    address = Text(max_length=LONGEST_ADDRESS, required=False, allow_blank=True, help_text=ADDRESS_HELP)
    secret = Text(max_length=100, required=False, allow_blank=True, help_text=NAME_OF_KEY)
    enabled = Flag(required=False, help_text="False to send nothing.")


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
        newest: Any = deliveries.newest(channel)
        return AlertDeliveryView(newest, many=True).data


@listing("alerts", AlertChannel, AlertChannelView, ordering=("-created_at", "-id"))
def alert_channels(view: TenantView) -> Any:
    """The channels to which messages of alerts go, the newest first."""
    return channels.kept(view.tenant)


@operation("alerts", "addAlertChannel", {201: OneAlertChannelView}, body=AlertChannelRequest)
@declares(Act.ALERT_CHANNEL_ADD, Scope.ACTIVATE)
@refuses(AlertChannelInvalid, AlertNameTaken, TooManyAlertRules)
def add_alert_channel(view: TenantView, **body: Any) -> Any:
    """Add a channel. If it is enabled, it gets a test message: GET shows whether that was accepted, or why not."""
    return deliveries.add_channel(view.tenant, actor=view.actor, **body)


@operation("alerts", "alertChannel", OneAlertChannelView, method="GET")
@refuses(AlertChannelUnknown)
def one_alert_channel(view: TenantView, channel_id: uuid.UUID) -> Any:
    """One channel with its newest messages."""
    return channels.channel_of(view.tenant, channel_id)


@operation("alerts", "changeAlertChannel", OneAlertChannelView, method="PATCH", body=AlertChannelChange)
@declares(Act.ALERT_CHANNEL_CHANGE, Scope.ACTIVATE)
@refuses(AlertChannelUnknown, AlertChannelInvalid, AlertNameTaken, AlertChannelInPolicy)
def change_alert_channel(view: TenantView, channel_id: uuid.UUID, **body: Any) -> Any:
    """Change a channel. Its kind stays. If more than its name changes, it gets a test message."""
    return deliveries.change_channel(channels.channel_of(view.tenant, channel_id), actor=view.actor, **body)


@operation("alerts", "removeAlertChannel", AlertChannelView)
@declares(Act.ALERT_CHANNEL_REMOVE, Scope.ACTIVATE)
@refuses(AlertChannelUnknown, AlertChannelInPolicy)
def remove_alert_channel(view: TenantView, channel_id: uuid.UUID) -> Any:
    """Remove a channel from all rules. Messages that were not sent fail."""
    return channels.remove(channels.channel_of(view.tenant, channel_id), actor=view.actor)


@operation("alerts", "testAlertChannel", {202: AlertDeliveryView})
@declares(Act.ALERT_CHANNEL_TEST, Scope.ACTIVATE)
@refuses(AlertChannelUnknown, AlertChannelDisabled)
def send_test_message(view: TenantView, channel_id: uuid.UUID) -> Any:
    """Send a test message now. The channel shows whether it was accepted. It is tried once."""
    return deliveries.test(channels.channel_of(view.tenant, channel_id), actor=view.actor)


# --- messages about executions ---


class NotificationView(serializers.Serializer[Notification]):
    notificationId = serializers.UUIDField(source="id")
    channelId = serializers.UUIDField(source="channel_id")
    executionId = serializers.UUIDField(source="execution_id")
    executionStatus = serializers.ChoiceField(
        choices=[state.value for state in sorted(TERMINAL)],
        source="document.status",
        help_text="The state that the message reports.",
    )
    state = serializers.ChoiceField(choices=Notification.State.choices)
    attempts = serializers.IntegerField()
    nextAttemptAt = serializers.DateTimeField(source="next_at", help_text="While it is PENDING.")
    error = serializers.CharField(help_text="Why the newest attempt failed. Empty if none has.")
    createdAt = serializers.DateTimeField(source="created_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)


class NotificationFilter(filters.FilterSet):
    executionId = filters.UUIDFilter(field_name="execution_id")
    channelId = filters.UUIDFilter(field_name="channel_id", help_text="Only to this channel.")


@listing("alerts", Notification, NotificationView, NotificationFilter, ordering=("-created_at", "-id"))
def execution_notifications(view: TenantView) -> Any:
    """The messages to channels about executions that ended, the newest first."""
    return deliveries.notifications(view.tenant)


# --- rules ---


THRESHOLDS = "The thresholds of the kind, by name."
CHANNELS = "The channels that get its messages."
SILENCE = "No messages of the rule are sent until this time. Alerts that still fire then are sent."


class ThresholdsRequest(StrictSerializer):
    """The thresholds of the rule's kind. What is missing has its default, or stays as it is."""

    def get_fields(self) -> dict[str, Any]:
        return {name: WholeNumber(required=False, help_text=f"For {_kinds_with(name)}.") for name in NAMES}


def _kinds_with(name: str) -> str:
    return ", ".join(kind.value for kind in Kind if any(threshold.name == name for threshold in kind.thresholds))


def _channel_ids(**options: Any) -> serializers.ListField:
    return serializers.ListField(
        child=Uuid(), max_length=channels.MOST_CHANNELS, required=False, help_text=CHANNELS, **options
    )


class AlertRuleRequest(StrictSerializer):
    name = Identifier(max_length=LONGEST_NAME)
    kind = serializers.ChoiceField(choices=Kind.choices)
    thresholds = ThresholdsRequest(required=False, default=dict, help_text=THRESHOLDS)
    pipelineId = SegmentIdentifier(
        source="pipeline_id",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="The pipeline that is looked at. If omitted, all pipelines of the tenant are.",
    )
    channelIds = _channel_ids(source="channel_ids", default=list)
    enabled = Flag(required=False, default=True, help_text="False to evaluate it no more.")
    silencedUntil = Moment(source="silenced_until", required=False, allow_null=True, default=None, help_text=SILENCE)


class AlertRuleChange(StrictSerializer):
    """What is missing stays as it is."""

    name = Identifier(max_length=LONGEST_NAME, required=False)
    thresholds = ThresholdsRequest(required=False, help_text=THRESHOLDS)
    channelIds = _channel_ids(source="channel_ids")
    enabled = Flag(required=False, help_text="False to evaluate it no more.")
    silencedUntil = Moment(source="silenced_until", required=False, allow_null=True, help_text=SILENCE)


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


@listing("alerts", AlertRule, AlertRuleView, ordering=("-created_at", "-id"))
def alert_rules(view: TenantView) -> Any:
    """The rules of the tenant, the newest first."""
    return rules.kept(view.tenant)


@operation("alerts", "addAlertRule", {201: AlertRuleView}, body=AlertRuleRequest)
@declares(Act.ALERT_RULE_ADD, Scope.ACTIVATE)
@refuses(AlertRuleInvalid, AlertChannelUnknown, PipelineUnknown, AlertNameTaken, TooManyAlertRules)
def add_alert_rule(view: TenantView, pipeline_id: str | None, **body: Any) -> Any:
    """Add a rule. It is judged every 30 seconds."""
    owner = pipeline(view.tenant, pipeline_id) if pipeline_id is not None else None
    return rules.add(view.tenant, pipeline=owner, actor=view.actor, **body)


@operation("alerts", "alertRule", AlertRuleView, method="GET")
@refuses(AlertRuleUnknown)
def one_alert_rule(view: TenantView, rule_id: uuid.UUID) -> Any:
    """One rule."""
    return rules.rule_of(view.tenant, rule_id)


@operation("alerts", "changeAlertRule", AlertRuleView, method="PATCH", body=AlertRuleChange)
@declares(Act.ALERT_RULE_CHANGE, Scope.ACTIVATE)
@refuses(AlertRuleUnknown, AlertRuleInvalid, AlertChannelUnknown, AlertNameTaken)
def change_alert_rule(view: TenantView, rule_id: uuid.UUID, **body: Any) -> Any:
    """Change a rule. Its kind and its pipeline stay. The alerts of a disabled rule are resolved."""
    return rules.change(rules.rule_of(view.tenant, rule_id), actor=view.actor, **body)


@operation("alerts", "removeAlertRule", AlertRuleView)
@declares(Act.ALERT_RULE_REMOVE, Scope.ACTIVATE)
@refuses(AlertRuleUnknown)
def remove_alert_rule(view: TenantView, rule_id: uuid.UUID) -> Any:
    """Remove a rule. Its alerts are resolved."""
    return rules.remove(rules.rule_of(view.tenant, rule_id), actor=view.actor)


urlpatterns = [
    path("alerts", alerts, name="alerts"),
    path("alerts/<uuid:alert_id>", one_alert, name="alert"),
    path("alerts/<uuid:alert_id>/silence", silence_alert, name="silence-alert"),
    path("alert-channels", either(alert_channels, add_alert_channel), name="alert-channels"),
    path("alert-channels/<uuid:channel_id>", either(one_alert_channel, change_alert_channel), name="alert-channel"),
    path("alert-channels/<uuid:channel_id>/remove", remove_alert_channel, name="remove-alert-channel"),
    path("alert-channels/<uuid:channel_id>/test", send_test_message, name="test-alert-channel"),
    path("notifications", execution_notifications, name="notifications"),
    path("alert-rules", either(alert_rules, add_alert_rule), name="alert-rules"),
    path("alert-rules/<uuid:rule_id>", either(one_alert_rule, change_alert_rule), name="alert-rule"),
    path("alert-rules/<uuid:rule_id>/remove", remove_alert_rule, name="remove-alert-rule"),
]
