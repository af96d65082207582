"""Deliveries: the messages of alerts, each to one channel."""

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models
from django.db.models import Q

from alerts.models.alert import Alert
from alerts.models.channel import AlertChannel
from tenancy.models import Tenant


class AlertDelivery(models.Model):
    """A message to one channel: PENDING, then SENT or FAILED, which are final.

    A TEST message belongs to no alert. `attempts` counts the attempts. `next_at` is when the next one is due; during an
    attempt it is the end of the attempt's lease, so the message of a killed process is sent again. `error` says why the
    newest attempt failed. It contains no secret.
    """

    class Kind(models.TextChoices):
        FIRING = "FIRING"
        RESOLVED = "RESOLVED"
        TEST = "TEST"

    class State(models.TextChoices):
        PENDING = "PENDING"
        SENT = "SENT"
        FAILED = "FAILED"

    id = models.UUIDField(primary_key=True, db_default=RandomUUID(), editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    channel = models.ForeignKey(AlertChannel, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, null=True, related_name="deliveries")
    kind = models.CharField(max_length=10, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING, db_default=State.PENDING)
    attempts = models.IntegerField(default=0, db_default=0)
    next_at = models.DateTimeField(db_default=TransactionNow())
    error = models.CharField(max_length=300, default="", db_default="")
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=Q(kind="TEST", alert=None) | Q(kind__in=["FIRING", "RESOLVED"], alert__isnull=False),
                name="alert_delivery_of_alert",
            ),
            models.CheckConstraint(
                condition=Q(state="PENDING", finished_at=None)
                | Q(state__in=["SENT", "FAILED"], finished_at__isnull=False),
                name="alert_delivery_over_has_finish",
            ),
        )
        indexes = (
            models.Index(fields=("next_at", "id"), condition=Q(state="PENDING"), name="alert_delivery_due"),
            models.Index(fields=("channel", "-created_at", "-id"), name="alert_delivery_newest"),
            models.Index(fields=("finished_at",), condition=~Q(state="PENDING"), name="alert_delivery_over"),
        )

    @property
    def is_superseded(self) -> bool:
        """True if it says that the alert fires, and the alert is resolved."""
        return self.kind == self.Kind.FIRING and self.alert is not None and self.alert.state == Alert.State.RESOLVED

    def __str__(self) -> str:
        return f"{self.kind} to {self.channel_id}"
