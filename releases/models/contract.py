"""The contracts of pipelines."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models

from releases.models.pipeline import IDENTITY_LENGTH, Pipeline


class Contract(models.Model):
    """The semantics of a pipeline at one contract version. `document` is normalised. A contract never changes."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="contracts")
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    document = models.JSONField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("pipeline", "contract_version"), name="contract_once"),)

    def __str__(self) -> str:
        return self.contract_version
