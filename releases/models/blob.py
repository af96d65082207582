"""The stored bytes of artifacts with the history of their verdicts, and direct uploads."""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.states import UploadStatus
from tenancy.models import Tenant


class Blob(models.Model):
    """The bytes of one digest in the artifact store, and the last verdict on them.

    `fingerprint` is what the store reported about the bytes (size, times, location) when they were last hashed. While
    it is unchanged, they need not be hashed again. `checking_until` is the end of the claim of the process that is
    reading them. Rows are never deleted: REMOVED means that the bytes were removed because nothing needed them.
    """

    class State(models.TextChoices):
        SOUND = "SOUND"
        DAMAGED = "DAMAGED"
        MISSING = "MISSING"
        REMOVED = "REMOVED"

    digest = models.CharField(max_length=71, primary_key=True)
    size = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.SOUND)
    fingerprint = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    checked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    checking_until = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(digest__regex=r"^sha256:[0-9a-f]{64}$"), name="blob_digest_well_formed"),
            models.CheckConstraint(condition=Q(size__gte=0), name="blob_size_not_negative"),
            models.CheckConstraint(
                condition=Q(state__in=["SOUND", "DAMAGED", "MISSING", "REMOVED"]), name="blob_state_known"
            ),
        )
        indexes = (models.Index(fields=("checked_at",), condition=~Q(state="REMOVED"), name="blob_to_check"),)

    def __str__(self) -> str:
        return self.digest


class BlobLease(models.Model):
    """The right of one process to rely on a blob's bytes, or to remove them (`releases.artifacts.blob_lock`).

    `resource` is a digest, or "scrub". Another process may delete the row after `expires_at`. The holder deletes it
    earlier, in the transaction that writes what the lease protects.
    """

    resource = models.CharField(max_length=71)
    holder = models.UUIDField()
    exclusive = models.BooleanField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(resource__regex=r"^(sha256:[0-9a-f]{64}|scrub|removals)$"), name="blob_lease_resource_known"
            ),
            models.UniqueConstraint(fields=("holder", "resource"), name="blob_lease_once"),
        )
        indexes = (models.Index(fields=("resource",), name="blob_lease_of_resource"),)

    def __str__(self) -> str:
        return self.resource


class BlobEvent(models.Model):
    """The append-only history of a blob. Events remain after the bytes were removed."""

    class Kind(models.TextChoices):
        DAMAGED = "DAMAGED"
        MISSING = "MISSING"
        HEALED = "HEALED"
        REMOVED = "REMOVED"

    digest = models.CharField(max_length=71)
    kind = models.CharField(max_length=10, choices=Kind)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=["DAMAGED", "MISSING", "HEALED", "REMOVED"]), name="blob_event_kind_known"
            ),
        )
        indexes = (models.Index(fields=("digest", "-id"), name="blob_history"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.digest}"


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
