"""The tables of alerts: channels, rules, the problems that rules have found with their events, and messages."""

import uuid
from typing import Final
from urllib.parse import urlencode, urlsplit

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models
from django.db.models import Q

from alerts.kinds import Kind
from releases.models import Pipeline
from tenancy.models import Tenant

LONGEST_NAME: Final = 100
LONGEST_ADDRESS: Final = 2000
LONGEST: Final = {"subject": 500, "title": 500, "detail": 1000, "path": 500}
"""How many characters the texts of an alert have at most."""


class Configured(models.Model):
    """What a person of the tenant adds under a name. `removed_at` is null until a person removes it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=LONGEST_NAME)
    enabled = models.BooleanField(default=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name


class AlertChannel(Configured):
    """A receiver of messages. Its kind never changes.

    A webhook has a URL as its `address`, e-mail has one or more addresses, separated by commas. `secret` is the name of
    a secret in ALERT_SECRETS: the URL of a Slack channel, and the key that signs a webhook. A webhook without one is
    signed with the webhook key of the tenant. The deliveries of a removed channel stay.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alert_channels", db_index=False)
    kind = models.CharField(max_length=10, choices=Kind)
    address = models.CharField(max_length=LONGEST_ADDRESS, blank=True)
    secret = models.CharField(max_length=100, blank=True)

    class Meta(Configured.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), condition=Q(removed_at=None), name="alert_channel_name_once"
            ),
            models.CheckConstraint(
                condition=(Q(kind="slack", address="") & ~Q(secret=""))
                | (Q(kind="webhook") & ~Q(address=""))
                | (Q(kind="email", secret="") & ~Q(address="")),
                name="alert_channel_has_address",
            ),
        )

    @property
    def shown_address(self) -> str:
        """The address without the parts of a URL that may be secret: its path and its query."""
        if self.kind != self.Kind.WEBHOOK:
            return self.address
        url = urlsplit(self.address)
        return f"{url.scheme}://{url.netloc}/{'…' if url.path.strip('/') or url.query else ''}"


class AlertRule(Configured):
    """A rule of a tenant, or of one of its pipelines. Its kind and its pipeline never change.

    `thresholds` has every threshold of the kind (`alerts.kinds`). No messages are sent until `silenced_until`. The
    alerts of a rule that is disabled or removed are resolved.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alert_rules", db_index=False)
    kind = models.CharField(max_length=20, choices=Kind)
    thresholds = models.JSONField(default=dict)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, null=True, related_name="alert_rules")
    channels = models.ManyToManyField(AlertChannel, through="RuleChannel", related_name="rules")
    silenced_until = models.DateTimeField(null=True)

    class Meta(Configured.Meta):
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), condition=Q(removed_at=None), name="alert_rule_name_once"
            ),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="alert_rule_kind_known"),
        )

    def threshold(self, name: str) -> int:
        return int(self.thresholds[name])


class RuleChannel(models.Model):
    rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, related_name="links", db_index=False)
    channel = models.ForeignKey(AlertChannel, on_delete=models.PROTECT, related_name="links")

    class Meta:
        constraints = (models.UniqueConstraint(fields=("rule", "channel"), name="rule_channel_once"),)

    def __str__(self) -> str:
        return f"{self.rule_id} to {self.channel_id}"


def page_of(model: type[models.Model], key: object = None, *, page: str = "change", **query: str) -> str:
    """Return the path of the admin's page of the row with this key, or of the list of the rows that match `query`.

    It is written here and not resolved, because a control worker does not load the pages.
    """
    rows = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return f"{rows}?{urlencode(query)}" if key is None else f"{rows}{key}/{page}/"


class Alert(models.Model):
    """A rule applies to one subject: FIRING, then RESOLVED, which is final.

    A rule has at most one FIRING alert of a subject. `path` is the page of what it is about (`page_of`).
    `clear_since` is when the condition was first not met, or null while it is met; the alert is resolved once that
    lasted for a minute. `notified_at` is null until its messages were written, which a silence delays.
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
