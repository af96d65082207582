"""The history of activations."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.pipeline import Pipeline
from releases.models.release import Release


class Kind(models.TextChoices):
    """What an activation is. A rollback returns to a release that was active before, and is not active now."""

    ACTIVATION = "activation", "Activation"
    ROLLBACK = "rollback", "Rollback"


class Activation(models.Model):
    """The append-only event that makes a release active for new executions. `sequence` alone defines the order.

    The database sets `activated_at` when the row is inserted, and it never decreases. A rollback has a reason, and so
    has an `override`, which does without the approvals that the policy requires. `request` is the approved request
    that the activation carries out, or null.
    """

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activations")
    sequence = models.PositiveIntegerField()
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="activations")
    previous = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.ACTIVATION)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    operation_key = models.CharField(max_length=200, null=True)
    override = models.BooleanField(default=False, db_default=False)
    request = models.OneToOneField(
        "ActivationRequest", on_delete=models.PROTECT, null=True, editable=False, related_name="activation"
    )
    activated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("pipeline", "-sequence")
        constraints = (
            models.UniqueConstraint(fields=("pipeline", "sequence"), name="activation_sequence_once"),
            models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_operation_once"),
            models.CheckConstraint(condition=Q(sequence__gte=1), name="activation_sequence_from_one"),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="activation_kind_known"),
            models.CheckConstraint(
                condition=~Q(kind=Kind.ROLLBACK) | ~Q(reason__regex=r"^\s*$"), name="activation_rollback_says_why"
            ),
            models.CheckConstraint(
                condition=Q(override=False) | (~Q(reason__regex=r"^\s*$") & Q(request=None)),
                name="activation_override_says_why",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.sequence} {self.release}"

    @property
    def is_rollback(self) -> bool:
        return self.kind == Kind.ROLLBACK
