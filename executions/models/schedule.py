"""Schedules, and the times at which they fired."""

import uuid
from typing import Any, Final

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Q

from executions.models.execution import Execution
from releases.models import IDENTITY_LENGTH, Pipeline
from tenancy.models import Tenant

LONGEST_SCHEDULE: Final = 100
LONGEST_CRON: Final = 200
MOST_MINUTES: Final = 7 * 24 * 60
"""The longest time, in minutes, for which missed times are made up."""


class Schedule(models.Model):
    """Submits executions of a pipeline at the times of a cron expression.

    `next_at` is the next time to fire. It is null while the schedule is paused, after its end, and after its removal.
    It moves in the statement that adds the fire of that time. `exceptions` are dates in `time_zone`, or ranges of them,
    on which it does not fire. `input` is a list with the template of the input. `release_version` names a release, or
    is "" for the active one. Times that are at most `catch_up_minutes` late are made up. `version` counts the changes,
    so that a process that read the schedule before one moves nothing.
    """

    class Overlap(models.TextChoices):
        """What happens at a time when the newest execution of the schedule has not ended."""

        SKIP = "skip", "Skip this time"
        QUEUE = "queue", "Submit another execution"
        CANCEL = "cancel", "Cancel it, then submit"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # A guard implies the constraint: the pipeline is one of the tenant.
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="schedules", db_index=False, db_constraint=False
    )
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="schedules")
    name = models.CharField(max_length=LONGEST_SCHEDULE)
    cron = models.CharField(max_length=LONGEST_CRON)
    time_zone = models.CharField(max_length=60, default="UTC")
    exceptions = models.JSONField(default=list)
    input = models.JSONField()
    release_version = models.CharField(max_length=IDENTITY_LENGTH, blank=True, default="")
    overlap = models.CharField(max_length=10, choices=Overlap, default=Overlap.SKIP)
    catch_up_minutes = models.PositiveIntegerField(default=60)
    starts_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    next_at = models.DateTimeField(null=True)
    version = models.IntegerField(default=0)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), condition=Q(removed_at=None), name="schedule_name_once"),
            models.CheckConstraint(condition=Q(overlap__in=["skip", "queue", "cancel"]), name="schedule_overlap_known"),
            models.CheckConstraint(
                condition=Q(catch_up_minutes__gte=1, catch_up_minutes__lte=MOST_MINUTES), name="schedule_catch_up"
            ),
            models.CheckConstraint(
                condition=Q(starts_at=None) | Q(ends_at=None) | Q(ends_at__gt=F("starts_at")),
                name="schedule_ends_after_start",
            ),
            models.CheckConstraint(
                condition=Q(next_at=None) | Q(paused_at=None, removed_at=None), name="schedule_stopped_has_no_next"
            ),
        )
        indexes = (models.Index(fields=("next_at",), condition=Q(next_at__isnull=False), name="schedule_due"),)

    def __str__(self) -> str:
        return self.name

    @property
    def template(self) -> Any:
        """The template of the input."""
        return self.input[0]

    @property
    def actor(self) -> str:
        """The actor of what the schedule does."""
        return f"schedule:{self.name}"


class ScheduleFire(models.Model):
    """A time of a schedule, and its outcome. A time fires once: DUE leads to exactly one of the other states.

    A DUE fire is submitted. `next_attempt_at` is when that is tried next: during an attempt it is the end of the
    attempt's lease, so the fire of a killed process is submitted again, with the same idempotency key. A backfill makes
    fires DUE again whose time was SKIPPED, MISSED or REFUSED. SUBMITTED is final.

    `code` and `detail` say why a time was skipped, missed or refused. The execution may be removed before the fire.
    """

    class State(models.TextChoices):
        DUE = "DUE"
        SUBMITTED = "SUBMITTED"
        SKIPPED = "SKIPPED"
        MISSED = "MISSED"
        REFUSED = "REFUSED"

    schedule = models.ForeignKey(Schedule, on_delete=models.PROTECT, related_name="fires", db_index=False)
    scheduled_at = models.DateTimeField()
    is_backfill = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State, default=State.DUE)
    code = models.CharField(max_length=60, blank=True, default="")
    detail = models.CharField(max_length=1000, blank=True, default="")
    execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+", db_index=False
    )
    next_attempt_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-scheduled_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("schedule", "scheduled_at"), name="schedule_fire_once"),
            models.CheckConstraint(
                condition=Q(state="DUE", next_attempt_at__isnull=False, decided_at=None)
                | Q(
                    state__in=["SUBMITTED", "SKIPPED", "MISSED", "REFUSED"],
                    next_attempt_at=None,
                    decided_at__isnull=False,
                ),
                name="schedule_fire_decided",
            ),
            models.CheckConstraint(
                condition=Q(state="SUBMITTED", execution__isnull=False)
                | Q(state__in=["DUE", "SKIPPED", "MISSED", "REFUSED"], execution=None),
                name="schedule_fire_has_execution",
            ),
        )
        indexes = (
            models.Index(fields=("next_attempt_at",), condition=Q(state="DUE"), name="schedule_fire_due"),
            models.Index(fields=("schedule", "scheduled_at"), condition=Q(state="DUE"), name="schedule_fire_open"),
            models.Index(
                fields=("schedule", "-decided_at"), condition=Q(state="SUBMITTED"), name="schedule_fire_newest"
            ),
            models.Index(
                fields=("execution",), condition=Q(execution__isnull=False), name="schedule_fire_of_execution"
            ),
            models.Index(fields=("created_at",), condition=~Q(state="DUE"), name="schedule_fire_over"),
            models.Index(
                fields=("schedule", "created_at"),
                condition=Q(state__in=["REFUSED", "MISSED"]),
                name="schedule_fire_failed",
            ),
        )

    def __str__(self) -> str:
        return f"{self.scheduled_at:%Y-%m-%d %H:%M} UTC"
