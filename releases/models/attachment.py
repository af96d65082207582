"""Documents that are attached to releases."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.release import Release
from releases.states import AttachmentKind


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
