"""The stored bytes of artifacts, and the history of their verdicts."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q


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
