"""The history of activations."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.pipeline import Pipeline
from releases.models.release import Release


class Activation(models.Model):
    """The append-only event that makes a release active for new executions. `sequence` alone defines the order."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activations")
    sequence = models.PositiveIntegerField()
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="activations")
    previous = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    operation_key = models.CharField(max_length=200, null=True)
    activated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("pipeline", "-sequence")
        constraints = (
            models.UniqueConstraint(fields=("pipeline", "sequence"), name="activation_sequence_once"),
            models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_operation_once"),
            models.CheckConstraint(condition=Q(sequence__gte=1), name="activation_sequence_from_one"),
        )

    def __str__(self) -> str:
        return f"#{self.sequence} {self.release}"

    @property
    def is_rollback(self) -> bool:
        """True if the release was uploaded before the one that it replaced."""
        return self.previous_id is not None and self.release_id < self.previous_id
