"""Alerts: problems that a rule has found, and their events."""

from typing import Final

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models
from django.db.models import Q

from alerts.models.rule import AlertRule
from tenancy.models import Tenant

LONGEST: Final = {"subject": 500, "title": 500, "detail": 1000, "path": 500}
"""How many characters the texts of an alert have at most."""


class Alert(models.Model):
    """A rule applies to one subject: FIRING, then RESOLVED, which is final.

    A rule has at most one FIRING alert of a subject. `path` is the page of what it is about. `clear_since` is when the
    condition was first not met, or null while it is met; the alert is resolved once that lasted for a minute.
    `notified_at` is null until its messages were written, which a silence delays.
    """

    class State(models.TextChoices):
        FIRING = "FIRING"
        RESOLVED = "RESOLVED"

    id = models.UUIDField(primary_key=True, db_default=RandomUUID(), editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alerts", db_index=False)
    rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, related_name="alerts")
    subject = models.CharField(max_length=LONGEST["subject"])
    title = models.CharField(max_length=LONGEST["title"])
    detail = models.CharField(max_length=LONGEST["detail"], blank=True)
    path = models.CharField(max_length=LONGEST["path"])
    state = models.CharField(max_length=10, choices=State, default=State.FIRING, db_default=State.FIRING)
    started_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    clear_since = models.DateTimeField(null=True)
    notified_at = models.DateTimeField(null=True)
    silenced_until = models.DateTimeField(null=True)
    silenced_by = models.CharField(max_length=200, default="", db_default="")
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-started_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("rule", "subject"), condition=Q(state="FIRING"), name="alert_one_firing"),
            models.CheckConstraint(
                condition=Q(state="FIRING", resolved_at=None) | Q(state="RESOLVED", resolved_at__isnull=False),
                name="alert_resolved_has_time",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-started_at", "-id"), name="alert_newest"),
            models.Index(fields=("resolved_at",), condition=Q(state="RESOLVED"), name="alert_resolved"),
        )

    def __str__(self) -> str:
        return self.title


class AlertEvent(models.Model):
    """One change of an alert, append-only."""

    class Kind(models.TextChoices):
        FIRED = "FIRED"
        RESOLVED = "RESOLVED"
        SILENCED = "SILENCED"
        UNSILENCED = "UNSILENCED"

    alert = models.ForeignKey(Alert, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind)
    actor = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=["FIRED", "RESOLVED", "SILENCED", "UNSILENCED"]), name="alert_event_kind_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.alert_id}"
