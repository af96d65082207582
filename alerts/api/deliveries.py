"""REST: the representation of messages."""

from rest_framework import serializers

from alerts.models import AlertDelivery


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
