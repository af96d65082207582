"""Items of a stream that failed and were collected, so that an operator can run them again (ADR 128)."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Func

from executions.models.execution import Execution

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
        return f"{self.failed} failed items of step {self.step_index} of {self.execution_id}"

    @property
    def is_complete(self) -> bool:
        """True if every failed item is stored, so that all of them can run again."""
        return len(self.items) == self.failed and all("item" in each for each in self.items)
