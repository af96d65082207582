"""Rules: which problems to look for, and which channels to notify."""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from alerts.kinds import Kind
from alerts.models.channel import LONGEST_NAME, AlertChannel
from releases.models import Pipeline
from tenancy.models import Tenant


class AlertRule(models.Model):
    """A rule of a tenant, or of one of its pipelines. Its kind and its pipeline never change.

    `thresholds` has every threshold of the kind (`alerts.kinds`). No messages are sent until `silenced_until`. The
    alerts of a rule that is disabled or removed are resolved. `removed_at` is null until a person removes the rule.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alert_rules", db_index=False)
    name = models.CharField(max_length=LONGEST_NAME)
    kind = models.CharField(max_length=20, choices=Kind)
    thresholds = models.JSONField(default=dict)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, null=True, related_name="alert_rules")
    channels = models.ManyToManyField(AlertChannel, through="RuleChannel", related_name="rules")
    enabled = models.BooleanField(default=True)
    silenced_until = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), condition=Q(removed_at=None), name="alert_rule_name_once"
            ),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="alert_rule_kind_known"),
        )

    def __str__(self) -> str:
        return self.name

    def threshold(self, name: str) -> int:
        return int(self.thresholds[name])


class RuleChannel(models.Model):
    """One channel of a rule."""

    rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, related_name="links", db_index=False)
    channel = models.ForeignKey(AlertChannel, on_delete=models.PROTECT, related_name="links")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("rule", "channel"), name="rule_channel_once"),)

    def __str__(self) -> str:
        return f"{self.rule_id} to {self.channel_id}"


SILENCED = Q(silenced_until__gt=Now())
"""The condition for rules, and for alerts, that are silenced now."""
