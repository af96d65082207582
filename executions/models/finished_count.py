"""How many executions finished, for statistics."""

from django.db import models

from releases.models import Release


class FinishedCount(models.Model):
    """How many executions of a release finished in one minute, and how. Derived from the executions.

    `executions.statistics` writes, reads and removes these rows.
    """

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    succeeded = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    cancelled = models.PositiveIntegerField()

    class Meta:
        # Migration 0016 adds a CHECK: `minute` has no seconds.
        constraints = (models.UniqueConstraint(fields=("minute", "release"), name="finished_count_once"),)

    def __str__(self) -> str:
        return f"{self.release_id} at {self.minute}"
