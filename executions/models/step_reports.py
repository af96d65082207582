"""What steps report while they run: progress, lines, finished items, and items that failed."""

from django.contrib.postgres.fields import ArrayField
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


VALID_ITEMS = Func(F("failed"), F("items"), function="failed_items_are_valid", output_field=models.BooleanField())


class FailedItems(models.Model):
    """The items for which one step of an execution failed, while the execution continued with the others.

    `failed` is the number of them. `items` has the first MOST_FAILED_ITEMS of `wire.messages.step_reports` in the order
    of the stream, each with the members `index`, `error`, `message` and `tries`. Its `item` is missing if it could not
    be stored.

    A row is written with the checkpoint or the outcome that ends the step, and never changes. It is removed with the
    execution.
    """

    pk = models.CompositePrimaryKey("execution_id", "step_index")
    # A guard implies the constraint of the foreign key: the execution is running.
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, related_name="failed_items", db_index=False, db_constraint=False
    )
    step_index = models.IntegerField()
    failed = models.IntegerField()
    items = models.JSONField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("execution", "step_index")
        constraints = (models.CheckConstraint(condition=VALID_ITEMS, name="failed_items_are_valid"),)

    def __str__(self) -> str:
        return f"{self.failed} failed items of step {self.step_index + 1} of {self.execution_id}"

    @property
    def is_complete(self) -> bool:
        """True if every failed item is stored, so that all of them can run again."""
        return len(self.items) == self.failed and all("item" in item for item in self.items)


_COLUMNS = ("first_item", "items", "outputs", "total", "failed")
VALID_GROUP = Func(*map(F, _COLUMNS), function="item_group_is_valid", output_field=models.BooleanField())


class ItemGroup(models.Model):
    """Finished items of one step of an execution, with their results.

    `items` are indexes in the value with which the step starts; the first of them is `first_item`. `outputs` is a list
    with the list of results of each item. `total` is the number of all items of the step. `failed` counts those of
    `items` that failed and were collected. `attempt` is that of the execution.

    A group is written under the lease of its execution, at the step that it runs, and never changes. It is removed with
    the execution. The SQL function `item_groups` returns the groups that count: if an answer was replaced, those of
    earlier attempts belong to another value.
    """

    pk = models.CompositePrimaryKey("execution_id", "step_index", "attempt", "first_item")
    # A guard implies the constraint of the foreign key: the execution is running.
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, related_name="item_groups", db_index=False, db_constraint=False
    )
    step_index = models.IntegerField()
    attempt = models.IntegerField()
    first_item = models.IntegerField()
    items = ArrayField(models.IntegerField())
    outputs = models.JSONField()
    total = models.IntegerField()
    failed = models.IntegerField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("execution", "step_index", "attempt", "first_item")
        constraints = (models.CheckConstraint(condition=VALID_GROUP, name="item_group_is_valid"),)

    def __str__(self) -> str:
        return f"{len(self.items)} items of step {self.step_index + 1} of {self.execution_id}"
