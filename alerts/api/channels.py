"""REST: the channels of a tenant, and test messages to them."""

import uuid
from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from alerts import channels, deliveries, queries
from alerts.api.alerts import AlertDeliveryView
from alerts.errors import (
    AlertChannelDisabled,
    AlertChannelInvalid,
    AlertChannelUnknown,
    AlertNameTaken,
    TooManyAlertRules,
)
from alerts.models import LONGEST_ADDRESS, LONGEST_NAME, AlertChannel
from foundation.api.fields import Flag, Identifier, StrictSerializer, Text
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


urlpatterns = [
    path("alert-channels", AlertChannels.as_view(), name="alert-channels"),
    path("alert-channels/<uuid:channel_id>", OneAlertChannel.as_view(), name="alert-channel"),
    path("alert-channels/<uuid:channel_id>/remove", RemoveAlertChannel.as_view(), name="remove-alert-channel"),
    path("alert-channels/<uuid:channel_id>/test", SendTestMessage.as_view(), name="test-alert-channel"),
]
