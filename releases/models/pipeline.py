"""A tenant's pipelines and their policies."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.policy import Policy
from tenancy.models import Tenant

IDENTITY_LENGTH = 500
"""The longest pipeline id, contract version, release version and artifact id, in characters."""


class Pipeline(Policy):
    """A tenant's pipeline and its policy.

    `activation` is the newest activation, or null before the first. `application` is the application of the framework
    to which the pipeline belongs; it is empty until the first deployment names it, and never changes afterwards.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="pipelines")
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    application = models.CharField(max_length=IDENTITY_LENGTH, default="", blank=True)
    activation = models.OneToOneField(
        "Activation", on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("tenant", "pipeline_id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id"), name="pipeline_once"),
            models.CheckConstraint(condition=~Q(pipeline_id__regex=r"^\s*$"), name="pipeline_id_not_blank"),
            *Policy.Meta.constraints,
        )

    def __str__(self) -> str:
        return self.pipeline_id
