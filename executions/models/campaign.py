"""Campaigns: one request acts on many executions at a limited rate, and records each result."""

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
    """An operator's request to re-drive, resubmit, cancel or pause a frozen selection of executions.

    A campaign is DRAFTING until it has an item for each of the `selected` executions, and then a DRAFT, which `starts`
    at once or waits for a person. It is a preview: its items are stored and nothing is done. Its options change when it
    starts, and never after. `created_by` is the person who made the draft, and then the person who started it. `cut`
    says that more executions were selected than a draft holds.

    A campaign that resubmits creates new executions on `target_release_version`, or on the release that is active when
    an item is admitted if that is "". They start as `start_from` says.

    `filters` is stored as requested. Items are admitted at `rate_per_minute`; `admitted` counts them from `rate_since`,
    which a resume sets to the current time, so that a pause accumulates nothing.

    The first `canary` executions must not fail again before the others are admitted; `canary_over` says that they have
    not, or that a person resumed the campaign all the same. The campaign pauses itself when `stop_after_failures` of
    its executions have failed again, without those whose failure a person has accepted by a resume: see `CampaignItem`.
    `failures_accepted` counts these for processes of the previous version. `cause` says why the campaign paused itself;
    it is "" if a person paused it.
    """

    class Kind(models.TextChoices):
        REDRIVE = "redrive"
        RESUBMIT = "resubmit"
        CANCEL = "cancel"
        PAUSE = "pause"

    class Cause(models.TextChoices):
        CANARY = "canary"
        FAILURES = "failures"

    class Status(models.TextChoices):
        DRAFTING = "DRAFTING"
        DRAFT = "DRAFT"
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
    canary = models.PositiveIntegerField(null=True)
    canary_over = models.BooleanField(default=False, db_default=False)
    stop_after_failures = models.PositiveIntegerField(null=True)
    failures_accepted = models.PositiveIntegerField(default=0, db_default=0)
    cut = models.BooleanField(default=False, db_default=False)
    selected = models.PositiveIntegerField(default=0, db_default=0)
    starts = models.BooleanField(default=False, db_default=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING)
    cause = models.CharField(max_length=10, choices=Cause, blank=True, default="", db_default="")
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
                | Q(status__in=["DRAFTING", "DRAFT", "RUNNING", "PAUSED"], finished_at__isnull=True),
                name="campaign_over_has_finish",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["redrive", "cancel", "pause"], target_release_version="") | Q(kind="resubmit"),
                name="campaign_target_of_resubmission",
            ),
            models.CheckConstraint(
                condition=Q(start_from="input") | Q(kind="resubmit", start_from="checkpoint"),
                name="campaign_start_of_resubmission",
            ),
            models.CheckConstraint(
                condition=Q(canary__isnull=True, stop_after_failures__isnull=True)
                | Q(kind__in=["redrive", "resubmit"])
                & (Q(canary__isnull=True) | Q(canary__gte=1))
                & (Q(stop_after_failures__isnull=True) | Q(stop_after_failures__gte=1)),
                name="campaign_bounds",
            ),
            models.CheckConstraint(
                condition=Q(canary_over=False) | Q(canary__isnull=False), name="campaign_over_canary"
            ),
            models.CheckConstraint(
                condition=Q(cause="")
                | Q(status="PAUSED", cause="canary", canary__isnull=False)
                | Q(status="PAUSED", cause="failures", stop_after_failures__isnull=False),
                name="campaign_cause_of_pause",
            ),
        )
        indexes = (
            models.Index(fields=("created_at",), condition=Q(status="RUNNING"), name="campaign_running"),
            models.Index(fields=("created_at",), condition=Q(status="DRAFT"), name="campaign_draft"),
        )

    def __str__(self) -> str:
        return f"Campaign of {self.created_at:%Y-%m-%d %H:%M} UTC"

    @property
    def runs_again(self) -> bool:
        """True if the campaign runs executions that have failed, False if it stops executions that have not ended."""
        return self.kind in (self.Kind.REDRIVE, self.Kind.RESUBMIT)

    @property
    def continues(self) -> bool:
        """True if the new executions start with the checkpoints of the old ones."""
        return self.start_from == StartFrom.CHECKPOINT

    @property
    def allow_revoked(self) -> bool:
        """True if the campaign re-drives executions of releases that were revoked before it started."""
        return bool(self.revoked_releases)


class CampaignBatch(models.Model):
    """Executions that a campaign selected, each with its version then, until the campaign has items for them.

    The items are written in the order of the positions, a batch at a time, and in the order of the executions.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="batches", db_index=False)
    position = models.PositiveIntegerField()
    executions = ArrayField(models.UUIDField())
    versions = ArrayField(models.BigIntegerField())

    class Meta:
        ordering = ("campaign", "position")
        constraints = (
            models.UniqueConstraint(fields=("campaign", "position"), name="campaign_batch_once"),
            models.CheckConstraint(condition=Q(executions__len__gte=1), name="campaign_batch_selects"),
        )

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.position}"


class CampaignItem(models.Model):
    """One execution of a campaign, with its result. `expected_version` is its version when it was selected.

    `new_execution` is the execution that a resubmission created, which retention may remove before the item.
    An item outlives its execution: `execution_id` stays after retention has removed it, and `execution` is None.
    `accepted_version` is the version in which the execution that ran again had failed when a person accepted that.
    """

    class Result(models.TextChoices):
        PENDING = "PENDING"
        REDRIVEN = "REDRIVEN"
        RESUBMITTED = "RESUBMITTED"
        CANCELLED = "CANCELLED"
        PAUSED = "PAUSED"
        SKIPPED = "SKIPPED"

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="items", db_index=False)
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
    accepted_version = models.BigIntegerField(null=True)

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
    """A change of a campaign, with its actor; append-only. A draft has none."""

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20)
    actor = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.campaign_id} {self.kind}"
