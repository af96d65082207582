"""Campaigns: one request re-drives or resubmits many executions at a limited rate, and records each result."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from executions.models.execution import Execution
from releases.models import IDENTITY_LENGTH
from tenancy.models import Tenant


class StartFrom(models.TextChoices):
    """Where the execution that resubmits another one starts: with its input, or with its checkpoint."""

    INPUT = "input"
    CHECKPOINT = "checkpoint"


class Campaign(models.Model):
    """An operator's request to re-drive or resubmit the executions that match filters at its start.

    A campaign that resubmits creates new executions on `target_release_version`, or on the release that is active when
    an item is admitted if that is "". They start as `start_from` says.

    `filters` is stored as requested. Items are admitted at `rate_per_minute`; `admitted` counts them from `rate_since`,
    which a resume sets to the current time, so that a pause accumulates nothing.
    """

    class Kind(models.TextChoices):
        REDRIVE = "redrive"
        RESUBMIT = "resubmit"

    class Status(models.TextChoices):
        RUNNING = "RUNNING"
        PAUSED = "PAUSED"
        COMPLETED = "COMPLETED"
        CANCELLED = "CANCELLED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="campaigns")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.REDRIVE, db_default=Kind.REDRIVE)
    target_release_version = models.CharField(max_length=IDENTITY_LENGTH, blank=True, default="", db_default="")
    start_from = models.CharField(max_length=10, choices=StartFrom, default=StartFrom.INPUT, db_default=StartFrom.INPUT)
    filters = models.JSONField()
    allow_failed = models.BooleanField(default=False)
    revoked_releases = ArrayField(
        models.BigIntegerField(),
        default=list,
        help_text="The revoked releases whose executions the operator has confirmed to run again.",
    )
    reason = models.CharField(max_length=1000)
    rate_per_minute = models.PositiveIntegerField()
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    rate_since = models.DateTimeField(db_default=TransactionNow())
    admitted = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(condition=Q(rate_per_minute__gte=1), name="campaign_rate_positive"),
            models.CheckConstraint(
                condition=Q(status__in=["COMPLETED", "CANCELLED"], finished_at__isnull=False)
                | Q(status__in=["RUNNING", "PAUSED"], finished_at__isnull=True),
                name="campaign_over_has_finish",
            ),
            models.CheckConstraint(
                condition=Q(kind="redrive", target_release_version="") | Q(kind="resubmit"),
                name="campaign_target_of_resubmission",
            ),
            models.CheckConstraint(
                condition=Q(start_from="input") | Q(kind="resubmit", start_from="checkpoint"),
                name="campaign_start_of_resubmission",
            ),
        )
        indexes = (models.Index(fields=("created_at",), condition=Q(status="RUNNING"), name="campaign_running"),)

    def __str__(self) -> str:
        return str(self.id)

    @property
    def continues(self) -> bool:
        """True if the new executions start with the checkpoints of the old ones."""
        return self.start_from == StartFrom.CHECKPOINT

    @property
    def allow_revoked(self) -> bool:
        """True if the campaign re-drives executions of releases that were revoked before it started."""
        return bool(self.revoked_releases)


class CampaignItem(models.Model):
    """One execution of a campaign, with its result. `expected_version` is its version at the start.

    `new_execution` is the execution that a resubmission created, which retention may remove before the item.
    An item outlives its execution: `execution_id` stays after retention has removed it, and `execution` is None.
    """

    class Result(models.TextChoices):
        PENDING = "PENDING"
        REDRIVEN = "REDRIVEN"
        RESUBMITTED = "RESUBMITTED"
        SKIPPED = "SKIPPED"

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="items")
    # Nullable only so that the ORM uses a LEFT JOIN; a constraint requires a value.
    execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="campaign_items"
    )
    expected_version = models.BigIntegerField()
    new_execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+", db_index=False
    )
    outcome = models.CharField(max_length=12, choices=Result, default=Result.PENDING, db_default=Result.PENDING)
    code = models.CharField(max_length=60, blank=True, default="", db_default="")
    at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("campaign", "execution"), name="campaign_item_once"),
            models.CheckConstraint(condition=Q(execution__isnull=False), name="campaign_item_names_execution"),
            models.CheckConstraint(
                condition=Q(outcome="RESUBMITTED", new_execution__isnull=False)
                | (~Q(outcome="RESUBMITTED") & Q(new_execution__isnull=True)),
                name="campaign_item_resubmitted",
            ),
        )
        indexes = (
            models.Index(fields=("campaign", "id"), condition=Q(outcome="PENDING"), name="campaign_item_pending"),
        )

    def __str__(self) -> str:
        return f"{self.execution_id} {self.outcome}"


class CampaignEvent(models.Model):
    """A change of a campaign, with its actor; append-only: started, paused, resumed, cancelled, completed."""

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20)
    actor = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.kind}"
