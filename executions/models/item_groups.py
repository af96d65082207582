"""Items of a stream for which a step is finished while it still runs for the others (ADR 123)."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Func

from executions.models.execution import Execution

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
        return f"{len(self.items)} items of step {self.step_index} of {self.execution_id}"
