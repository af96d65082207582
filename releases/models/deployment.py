"""Receipts of the deployment API."""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.pipeline import IDENTITY_LENGTH
from releases.models.release import Release
from tenancy.models import Tenant

KEY_LENGTH = 200
"""The longest idempotency key, in characters."""


class Deployment(models.Model):
    """The receipt of a request that registered a release through the deployment API. It never changes.

    A request with the same key gets the same receipt, if it is about the same bytes and the same place.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="deployments")
    idempotency_key = models.CharField(max_length=KEY_LENGTH)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="deployments")
    descriptor_digest = models.CharField(max_length=71)
    application = models.CharField(max_length=IDENTITY_LENGTH)
    environment = models.CharField(max_length=IDENTITY_LENGTH)
    actor = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "idempotency_key"), name="deployment_key_once"),
            models.CheckConstraint(
                condition=~Q(idempotency_key="") & ~Q(application="") & ~Q(environment=""),
                name="deployment_names_its_place",
            ),
        )
        indexes = (models.Index(fields=("tenant", "-created_at", "-id"), name="deployment_newest"),)

    def __str__(self) -> str:
        return f"{self.release} in {self.environment}"
