"""Groups of failures that have the same cause."""

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Exists, F, Max, OuterRef, Q

from executions.models.execution import DeadLetter
from releases.models import Release
from tenancy.models import Tenant

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
        return f"{self.error_code} at step {self.step_index + 1}"

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
