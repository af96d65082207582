"""The history of a tenant's worker keys."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from tenancy.models import Tenant


class WorkerKeyChange(models.Model):
    """One change of a tenant's worker keys, with the state after it. Changes are never updated or deleted.

    The generations from `oldest` to `newest` are active: one or two. In a tenant without changes, only generation 1 is
    active. Neither bound ever decreases, so a revoked key never becomes active again.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="worker_key_changes")
    number = models.PositiveIntegerField()
    newest = models.PositiveIntegerField()
    oldest = models.PositiveIntegerField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("tenant", "-number")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "number"), name="worker_key_change_once"),
            models.CheckConstraint(
                condition=Q(oldest__gte=1) & Q(newest__gte=F("oldest")) & Q(newest__lte=F("oldest") + 1),
                name="worker_key_two_active",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant}: {self.oldest} to {self.newest}"
