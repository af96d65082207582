"""Direct uploads."""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.states import UploadStatus
from tenancy.models import Tenant


class ArtifactUpload(models.Model):
    """A direct upload: bytes that a client sends to the artifact store itself. It declares their digest and size.

    `OPEN > VERIFYING > STORED | REJECTED`, and `OPEN > EXPIRED`. A tenant has at most one OPEN or VERIFYING upload of
    the same bytes. `storage_id` is the store's id of the multipart upload. The staging key is the id of the row;
    `cleared` means that the store has nothing left under it. `claimed_at` is the time at which a process claimed the
    upload to verify it, or renewed its claim.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="artifact_uploads")
    digest = models.CharField(max_length=71)
    size = models.BigIntegerField()
    part_size = models.BigIntegerField()
    storage_id = models.CharField(max_length=1024, default="", blank=True)
    status = models.CharField(max_length=10, choices=[(status.value, status.value) for status in UploadStatus])
    finding = models.JSONField(null=True)
    cleared = models.BooleanField(default=False)
    uploaded_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    expires_at = models.DateTimeField()
    status_changed_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    claimed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "digest", "size"),
                condition=Q(status__in=[UploadStatus.OPEN, UploadStatus.VERIFYING]),
                name="upload_live_once",
            ),
            models.CheckConstraint(
                condition=Q(digest__regex=r"^sha256:[0-9a-f]{64}$"), name="upload_digest_well_formed"
            ),
            models.CheckConstraint(condition=Q(size__gte=1) & Q(part_size__gte=1), name="upload_size_positive"),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in UploadStatus]), name="upload_status_known"
            ),
            models.CheckConstraint(
                condition=Q(finding=None) | Q(status=UploadStatus.REJECTED), name="upload_finding_of_rejected"
            ),
        )
        indexes = (
            models.Index(
                fields=("status_changed_at",),
                condition=Q(status__in=[UploadStatus.OPEN, UploadStatus.VERIFYING]) | Q(cleared=False),
                name="upload_pending",
            ),
            models.Index(fields=("digest",), condition=Q(status=UploadStatus.STORED), name="upload_stored"),
        )

    def __str__(self) -> str:
        return f"{self.digest} by {self.uploaded_by}"
