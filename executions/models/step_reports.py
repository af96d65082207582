"""What the code of steps reports while it runs."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.lookups import LessThanOrEqual

from executions.models.execution import Execution
from wire.messages.celery_messages import LONGEST_PROGRESS
from wire.messages.step_reports import MOST_LINES


class StepReport(models.Model):
    """What the steps of a transition have reported under one lease: progress, details for the next attempt, and lines.

    Only an execution that is `reported` has such rows. Those of a lost lease stay. `done` and `total` are null without
    progress. `details` has the index of the step, that of the item or null, and what the step left; null if it left
    nothing. `lines` has the newest lines as `wire.messages.step_reports.StepLine` describes them.
    """

    pk = models.CompositePrimaryKey("execution_id", "lease_token")
    # A guard implies the constraint of the foreign key: see migration 0025.
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, related_name="step_reports", db_index=False, db_constraint=False
    )
    lease_token = models.UUIDField()
    transition_key = models.CharField(max_length=200)
    done = models.BigIntegerField(null=True)
    total = models.BigIntegerField(null=True)
    message = models.CharField(max_length=LONGEST_PROGRESS, default="", db_default="")
    details = models.JSONField(null=True)
    lines = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    reported_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        ordering = ("execution", "reported_at", "lease_token")
        constraints = (
            models.CheckConstraint(
                condition=Q(done=None, total=None)
                | Q(done__isnull=False, done__gte=0) & (Q(total=None) | Q(total__gte=0)),
                name="step_report_counts",
            ),
            models.CheckConstraint(
                condition=LessThanOrEqual(
                    Func(F("lines"), function="jsonb_array_length", output_field=models.IntegerField()), MOST_LINES
                ),
                name="step_report_lines",
            ),
        )

    def __str__(self) -> str:
        return f"reports of {self.transition_key}"

    @property
    def rest(self) -> int:
        """How much of `total` is not done; 0 without a total."""
        return max((self.total or 0) - (self.done or 0), 0)
