"""The history of activations."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.pipeline import Pipeline
from releases.models.release import Release


class Kind(models.TextChoices):
    """What an activation is. A rollback returns to a release that was active before, and is not active now.

    A gradual activation keeps the active release and gives a candidate a share of the new executions. Its end is a
    promotion, which makes the candidate active, or a withdrawal, which keeps the active release.
    """

    ACTIVATION = "activation", "Activation"
    ROLLBACK = "rollback", "Rollback"
    GRADUAL = "gradual", "Gradual activation"
    PROMOTION = "promotion", "Promotion"
    WITHDRAWAL = "withdrawal", "Withdrawal"


SWITCHES = (Kind.ACTIVATION, Kind.ROLLBACK, Kind.PROMOTION)
"""The kinds that decide which release is active. The others keep it."""
_ENDS = (Kind.PROMOTION, Kind.WITHDRAWAL)


class Activation(models.Model):
    """The append-only event that decides which release new executions get. `sequence` alone defines the order.

    The database sets `activated_at` when the row is inserted, and it never decreases. A rollback has a reason, and so
    has an `override`, which does without the approvals that the policy requires. `request` is the approved request
    that the activation carries out, or null. While a gradual activation runs, the newest row has a `candidate`, which
    gets `share` percent of the new executions.
    """

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activations")
    sequence = models.PositiveIntegerField()
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="activations")
    previous = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    candidate = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    share = models.DecimalField(max_digits=5, decimal_places=2, null=True)
    gradual = models.ForeignKey(
        "GradualActivation", on_delete=models.PROTECT, null=True, related_name="activations", db_index=False
    )
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
            models.CheckConstraint(
                condition=Q(
                    kind=Kind.GRADUAL,
                    candidate__isnull=False,
                    share__isnull=False,
                    share__range=(0, 100),
                    gradual__isnull=False,
                )
                | Q(kind__in=_ENDS, candidate__isnull=True, share__isnull=True, gradual__isnull=False)
                | (
                    ~Q(kind__in=(Kind.GRADUAL, *_ENDS))
                    & Q(candidate__isnull=True, share__isnull=True, gradual__isnull=True)
                ),
                name="activation_routes_by_kind",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.sequence} {self.release}"

    @property
    def is_rollback(self) -> bool:
        return self.kind == Kind.ROLLBACK
