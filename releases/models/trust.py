"""What is known of a release from others: attached documents, and the keys that a tenant trusts."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.release import Release
from releases.states import AttachmentKind
from tenancy.models import Tenant


class Attachment(models.Model):
    """A signature, provenance or SBOM that is attached to a release. Attachments are never changed or removed.

    `summary` and `findings` are what was read from `content` when it was attached. The database checks that `digest`
    is the digest of `content`, and limits the positions and so the number of attachments.
    """

    MAX_PER_RELEASE = 32

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="attachments")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=[(kind.value, kind.value) for kind in AttachmentKind])
    digest = models.CharField(max_length=71)
    content = models.BinaryField()
    summary = models.JSONField()
    findings = models.JSONField(default=list)
    attached_by = models.CharField(max_length=200)
    attached_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("release", "position")
        constraints = (
            models.UniqueConstraint(fields=("release", "position"), name="attachment_position_once"),
            models.UniqueConstraint(fields=("release", "digest"), name="attachment_once"),
            models.CheckConstraint(condition=Q(position__lt=32), name="attachment_not_too_many"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in AttachmentKind]), name="attachment_kind_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.release}"


class TrustedKey(models.Model):
    """An ed25519 key whose signatures a tenant trusts until the key is revoked.

    Keys are never changed or removed, so a revoked key cannot be added again.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="trusted_keys")
    name = models.CharField(max_length=100)
    key_id = models.CharField(max_length=64)
    public_key = models.TextField()
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("tenant", "name")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="trusted_key_name_once"),
            models.UniqueConstraint(fields=("tenant", "key_id"), name="trusted_key_once"),
            models.CheckConstraint(condition=Q(key_id__regex=r"^[0-9a-f]{64}$"), name="trusted_key_id_well_formed"),
            models.CheckConstraint(condition=~Q(name__regex=r"^\s*$"), name="trusted_key_name_not_blank"),
        )

    def __str__(self) -> str:
        return self.name


class KeyRevocation(models.Model):
    """The append-only event that revoked a trusted key permanently."""

    key = models.OneToOneField(TrustedKey, on_delete=models.PROTECT, related_name="revocation")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    revoked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="key_revocation_says_why"),)

    def __str__(self) -> str:
        return f"{self.key} revoked"
