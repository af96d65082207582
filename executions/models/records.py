"""Other records: resubmissions, smoke tests, receipts, pauses, failure groups, notifications, values to search."""

import uuid
from datetime import UTC, datetime

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import models
from django.db.models import Exists, F, Max, OuterRef, Q
from django.db.models.functions import Now

from executions.models.campaign import Campaign
from executions.models.dead_letter import DeadLetter
from executions.models.execution import Execution
from releases.models import IDENTITY_LENGTH, Pipeline, Release
from releases.step_names import Step, step_at
from tenancy.models import Tenant
from wire.documents.search import DECIMALS, DIGITS, LONGEST_VALUE, Kind


class Resubmission(models.Model):
    """Links `execution`, which had ended, to `new_execution`, which runs its input or its remaining steps again.

    The link is part of the history of `execution` and is removed with it. If `new_execution` is removed first, the link
    keeps its id. `execution_version` is the version of `execution` that was resubmitted. `edited` says whether the new
    execution has another input. `checkpoint_step` is the step at which it starts, with the checkpoint of `execution`.
    It is null if it starts with the input. `items` is the number of items that it starts with, because they failed at
    that step of `execution`.

    `operation_key` makes a resubmission idempotent: the key of the new execution is
    `resubmit:{execution_id}:{operation_key}`. The function `replacement_of` of the database reads the links.
    """

    new_execution = models.OneToOneField(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="origin"
    )
    # The unique constraint of the operation key is also the index of the foreign key.
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, related_name="resubmissions", db_index=False)
    execution_version = models.BigIntegerField()
    operation_key = models.CharField(max_length=200)
    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, null=True, related_name="resubmissions", db_index=False
    )
    edited = models.BooleanField()
    checkpoint_step = models.IntegerField(null=True)
    items = models.IntegerField(null=True)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-new_execution_id")
        constraints = (
            models.UniqueConstraint(fields=("execution", "operation_key"), name="resubmission_operation_once"),
            models.CheckConstraint(
                condition=Q(checkpoint_step__isnull=True) | Q(checkpoint_step__gte=0, edited=False),
                name="resubmission_from_checkpoint",
            ),
            models.CheckConstraint(
                condition=Q(items__isnull=True) | Q(items__gte=1, checkpoint_step__isnull=False),
                name="resubmission_of_items",
            ),
        )

    def __str__(self) -> str:
        return f"{self.execution_id} > {self.new_execution_id}"


class SmokeTest(models.Model):
    """Says that `execution` is a smoke test of `release`, and which result is expected.

    `expected_result` is a list with the expected result, or null if any result passes. The row is part of the history
    of the execution and is removed with it. The queries of `governance.smoke_tests` add the verdict.
    """

    execution = models.OneToOneField(Execution, on_delete=models.PROTECT, primary_key=True, related_name="smoke_test")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="smoke_tests", db_index=False)
    expected_result = models.JSONField(null=True)
    actor = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-execution_id")
        indexes = (models.Index(fields=("release", "-created_at", "-execution"), name="smoke_test_newest"),)

    def __str__(self) -> str:
        return f"{self.execution_id} tests {self.release_id}"


_SHA_256 = r"^[0-9a-f]{64}$"


class AdmissionReceipt(models.Model):
    """Says that `execution` was admitted to `release` under `client_key`. It is never removed.

    The row is written with the execution, and keeps its id after that is removed. `intent_fingerprint` is that of
    `AdmissionIntent`. `release_fingerprint`, `artifact_id` and `artifact_digest` are what the receipt says about the
    release.
    """

    execution = models.OneToOneField(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="admission"
    )
    # The unique constraint of the client key is also the index of the tenant.
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+", db_index=False)
    client_key = models.CharField(max_length=200)
    intent_fingerprint = models.CharField(max_length=64)
    release_fingerprint = models.CharField(max_length=64)
    artifact_id = models.CharField(max_length=IDENTITY_LENGTH)
    artifact_digest = models.CharField(max_length=IDENTITY_LENGTH)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-execution_id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id", "client_key"), name="admission_receipt_key_once"),
            models.CheckConstraint(
                condition=Q(intent_fingerprint__regex=_SHA_256, release_fingerprint__regex=_SHA_256),
                name="admission_receipt_fingerprints",
            ),
        )

    def __str__(self) -> str:
        return f"{self.client_key} > {self.execution_id}"


_OF_EXECUTION = Q(execution__isnull=False, release__isnull=True, pipeline__isnull=True)
_OF_RELEASE = Q(execution__isnull=True, release__isnull=False, pipeline__isnull=True)
_OF_PIPELINE = Q(execution__isnull=True, release__isnull=True, pipeline__isnull=False)
_OPEN = Q(ended_at__isnull=True)


class Hold(models.Model):
    """A pause of one execution, release or pipeline: no due work of its target is claimed while the hold is open.

    Holds are append-only. An open hold ends once; afterwards it never changes. A target has at most one open hold. With
    `refuses_submissions`, the hold of a release or a pipeline also refuses new executions. The database sets both
    times.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="holds", db_index=False)
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, null=True, related_name="holds", db_index=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="holds", db_index=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, null=True, related_name="holds", db_index=False)
    reason = models.CharField(max_length=1000)
    refuses_submissions = models.BooleanField(default=False)
    started_by = models.CharField(max_length=200)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, null=True)
    end_reason = models.CharField(max_length=1000, null=True)

    class Meta:
        verbose_name = "pause"
        ordering = ("-started_at", "-id")
        constraints = (
            models.CheckConstraint(condition=_OF_EXECUTION | _OF_RELEASE | _OF_PIPELINE, name="hold_has_one_target"),
            models.CheckConstraint(
                condition=Q(refuses_submissions=False) | Q(execution__isnull=True), name="hold_refuses_submissions"
            ),
            models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="hold_says_why"),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by__isnull=True, end_reason__isnull=True)
                | Q(ended_at__isnull=False, ended_by__isnull=False, end_reason__isnull=False),
                name="hold_end_is_complete",
            ),
            models.UniqueConstraint(fields=("execution",), condition=_OPEN, name="hold_of_execution_once"),
            models.UniqueConstraint(fields=("release",), condition=_OPEN, name="hold_of_release_once"),
            models.UniqueConstraint(fields=("pipeline",), condition=_OPEN, name="hold_of_pipeline_once"),
        )
        indexes = (
            models.Index(fields=("tenant", "-started_at", "-id"), condition=_OPEN, name="hold_newest"),
            # The removal of an execution checks that no hold refers to it.
            models.Index(fields=("execution",), condition=Q(execution__isnull=False), name="hold_of_execution"),
        )

    def __str__(self) -> str:
        return f"hold {self.pk}"

    @property
    def pipeline_name(self) -> str:
        """The `pipeline_id` of the pipeline that the target belongs to."""
        if self.execution is not None:
            return self.execution.pipeline_id
        pipeline = self.pipeline if self.release is None else self.release.pipeline
        assert pipeline is not None  # noqa: S101 - a constraint requires one target
        return pipeline.pipeline_id

    @property
    def release_version(self) -> str | None:
        """The release of the target; None if the target is a pipeline."""
        target = self.execution or self.release
        return target.release_version if target is not None else None


LONGEST_ASSIGNEE = 150
LONGEST_NOTE = 1000


class FailureGroup(models.Model):
    """The failures of one release at one step with one fingerprint, and what people have done about them.

    A trigger on dead letters adds the group at its first failure and keeps `last_seen_at`, which is exact to a minute
    so that failures do not wait for each other's locks; the times of the failures are exact. `fingerprint` is the hash
    of the error code and of the message without its ids, numbers and quoted parts. `id` is computed from the release,
    the step and the fingerprint.

    People change only the acknowledgement, the assignee and the note. A group that has failed since it was
    acknowledged is new again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="failure_groups", db_index=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="failure_groups", db_index=False)
    step_index = models.IntegerField()
    fingerprint = models.CharField(max_length=32)
    error_code = models.CharField(max_length=100)
    sample_message = models.CharField(max_length=512)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    acknowledged_by = models.CharField(max_length=200, blank=True, default="", db_default="")
    acknowledged_at = models.DateTimeField(null=True)
    assignee = models.CharField(max_length=LONGEST_ASSIGNEE, blank=True, default="", db_default="")
    note = models.CharField(max_length=LONGEST_NOTE, blank=True, default="", db_default="")

    class Meta:
        verbose_name = "failure group"
        verbose_name_plural = "failures"
        ordering = ("-last_seen_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("release", "step_index", "fingerprint"), name="failure_group_once"),
            models.CheckConstraint(
                condition=Q(acknowledged_at__isnull=True, acknowledged_by="")
                | (Q(acknowledged_at__isnull=False) & ~Q(acknowledged_by="")),
                name="failure_group_acknowledged_by",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-last_seen_at", "-id"), name="failure_group_newest"),
            models.Index(fields=("-last_seen_at", "-id"), name="failure_group_newest_of_all"),
        )

    def __str__(self) -> str:
        return f"{self.error_code} at {self.step.title}"

    @property
    def step(self) -> Step:
        """The step that failed. Needs the release."""
        return step_at(self.release_id, self.release.contract_version, self.step_index)

    @property
    def is_new(self) -> bool:
        """True if the group was not acknowledged since it last failed."""
        return self.is_new_by(self.letters.aggregate(newest=Max("created_at"))["newest"])

    def is_new_by(self, newest_at: datetime | None) -> bool:
        """Return `is_new` for a caller that has read the time of the newest failure; None if it was removed."""
        times = filter(None, (self.last_seen_at, newest_at))
        return self.acknowledged_at is None or max(times) > self.acknowledged_at


def is_new() -> Q:
    """Return the condition for groups with `is_new`."""
    later = DeadLetter.objects.filter(group=OuterRef("pk"), created_at__gt=OuterRef("acknowledged_at"))
    return Q(acknowledged_at__isnull=True) | Q(last_seen_at__gt=F("acknowledged_at")) | Q(Exists(later))


class Notification(models.Model):
    """The message about one end of an execution to one channel: PENDING, then SENT or FAILED, which are final.

    A trigger adds it as the execution ends, if its submission named a channel. `document` has the members of the
    message at that time, and no payload. It outlives the execution. `channel_id` is an `alerts.AlertChannel`.

    `attempts` counts the attempts. `next_at` is when the next one is due; during an attempt it is the end of the
    attempt's lease, so the message of a killed process is sent again. `error` says why the newest attempt failed. It
    contains no secret.
    """

    class State(models.TextChoices):
        PENDING = "PENDING"
        SENT = "SENT"
        FAILED = "FAILED"

    id = models.UUIDField(primary_key=True, db_default=RandomUUID(), editable=False)
    # Only the trigger adds rows, so the execution implies the constraint.
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    execution_id = models.UUIDField()
    channel_id = models.UUIDField()
    document = models.JSONField()
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
                condition=Q(state="PENDING", finished_at=None)
                | Q(state__in=["SENT", "FAILED"], finished_at__isnull=False),
                name="notification_over_has_finish",
            ),
        )
        indexes = (
            models.Index(fields=("next_at", "id"), condition=Q(state="PENDING"), name="notification_due"),
            models.Index(fields=("tenant", "-created_at", "-id"), name="notification_newest"),
            models.Index(fields=("execution_id",), name="notification_of_execution"),
            models.Index(fields=("channel_id", "-created_at", "-id"), name="notification_of_channel"),
            models.Index(fields=("finished_at",), condition=~Q(state="PENDING"), name="notification_over"),
        )

    def __str__(self) -> str:
        return f"{self.document.get('status')} of {self.execution_id}"


class SearchValue(models.Model):
    """A value of the input of `execution` by which it can be found, as the release declares in `search`.

    Exactly one of `text`, `number` and `time` is set. The values are written with the execution and removed with it,
    and never change. See `wire.documents.search.values_of` for what is left out or cut.
    """

    pk = models.CompositePrimaryKey("execution_id", "name")
    # A guard implies the constraint of the foreign key: the execution is written in the same transaction.
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, related_name="search_values", db_index=False, db_constraint=False
    )
    pipeline = models.ForeignKey(
        Pipeline, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    name = models.CharField(max_length=50)
    text = models.CharField(max_length=LONGEST_VALUE, null=True, db_collation="C")
    number = models.DecimalField(max_digits=DIGITS, decimal_places=DECIMALS, null=True)
    time = models.DateTimeField(null=True)

    class Meta:
        ordering = ("execution", "name")
        constraints = (
            models.CheckConstraint(
                condition=Q(text__isnull=False, number=None, time=None) & ~Q(text="")
                | Q(text=None, number__isnull=False, time=None)
                | Q(text=None, number=None, time__isnull=False),
                name="search_value_is_one",
            ),
        )
        indexes = tuple(
            models.Index(
                fields=("pipeline", "name", kind.value, "execution"),
                condition=Q(**{f"{kind.value}__isnull": False}),
                name=f"search_value_{kind.value}",
            )
            for kind in Kind
        )

    def __str__(self) -> str:
        return f"{self.name} of {self.execution_id}"

    @property
    def shown(self) -> str:
        """The text of the value: a number without zeros at its end, a time as RFC 3339, and midnight UTC as a date."""
        if self.number is not None:
            return f"{self.number:f}".rstrip("0").rstrip(".")
        if self.time is None:
            return self.text or ""
        return self.time.astimezone(UTC).isoformat().removesuffix("T00:00:00+00:00").replace("+00:00", "Z")
