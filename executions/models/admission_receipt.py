"""The receipts of strict admissions, append-only."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from executions.models.execution import Execution
from releases.models import IDENTITY_LENGTH, Release
from tenancy.models import Tenant

_SHA_256 = r"^[0-9a-f]{64}$"


class AdmissionReceipt(models.Model):
    """Says that `execution` was admitted to `release` under `client_key`. It is never removed.

    The row is written with the execution, and keeps its id after that is removed. `intent_fingerprint` is that of
    `wire.messages.admissions`. `release_fingerprint`, `artifact_id` and `artifact_digest` are what the receipt says
    about the release.
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
