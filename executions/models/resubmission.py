"""The link between an execution that was resubmitted and the new execution, append-only."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from executions.models.campaign import Campaign
from executions.models.execution import Execution


class Resubmission(models.Model):
    """Links `execution`, which had ended, to `new_execution`, which runs its input or its remaining steps again.

    The link is part of the history of `execution` and is removed with it. If `new_execution` is removed first, the link
    keeps its id. `execution_version` is the version of `execution` that was resubmitted. `edited` says whether the new
    execution has another input. `checkpoint_step` is the step at which it starts, with the checkpoint of `execution`.
    It is null if it starts with the input.

    `operation_key` makes a resubmission idempotent: the key of the new execution is
    `resubmit:{execution_id}:{operation_key}`. Campaigns resubmit a version of an execution at most once.
    """

    new_execution = models.OneToOneField(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="origin"
    )
    # The unique constraint of the operation key is also the index of the foreign key.
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, related_name="resubmissions", db_index=False)
    execution_version = models.BigIntegerField()
    operation_key = models.CharField(max_length=200)
    campaign = models.ForeignKey(
        Campaign, on_delete=models.PROTECT, null=True, related_name="resubmissions", db_index=False
    )
    edited = models.BooleanField()
    checkpoint_step = models.IntegerField(null=True)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-new_execution_id")
        constraints = (
            models.UniqueConstraint(fields=("execution", "operation_key"), name="resubmission_operation_once"),
            models.UniqueConstraint(
                fields=("execution", "execution_version"),
                condition=Q(campaign__isnull=False),
                name="resubmission_by_campaign_once",
            ),
            models.CheckConstraint(
                condition=Q(checkpoint_step__isnull=True) | Q(checkpoint_step__gte=0, edited=False),
                name="resubmission_from_checkpoint",
            ),
        )

    def __str__(self) -> str:
        return f"{self.execution_id} > {self.new_execution_id}"
