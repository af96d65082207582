"""What is recorded beside an execution, append-only: resubmissions, smoke tests, and receipts of strict admissions."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from executions.models.campaign import Campaign
from executions.models.execution import Execution
from releases.models import IDENTITY_LENGTH, Release
from tenancy.models import Tenant


class Resubmission(models.Model):
    """Links `execution`, which had ended, to `new_execution`, which runs its input or its remaining steps again.

    The link is part of the history of `execution` and is removed with it. If `new_execution` is removed first, the link
    keeps its id. `execution_version` is the version of `execution` that was resubmitted. `edited` says whether the new
    execution has another input. `checkpoint_step` is the step at which it starts, with the checkpoint of `execution`.
    It is null if it starts with the input.

    `operation_key` makes a resubmission idempotent: the key of the new execution is
    `resubmit:{execution_id}:{operation_key}`. Campaigns resubmit a version of an execution at most once.
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
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-new_execution_id")
        constraints = (
            models.UniqueConstraint(fields=("execution", "operation_key"), name="resubmission_operation_once"),
            models.UniqueConstraint(
                fields=("execution", "execution_version"),
                condition=Q(campaign__isnull=False),
                name="resubmission_by_campaign_once",
            ),
            models.CheckConstraint(
                condition=Q(checkpoint_step__isnull=True) | Q(checkpoint_step__gte=0, edited=False),
                name="resubmission_from_checkpoint",
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
