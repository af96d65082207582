"""Where the messages of alerts go."""

import uuid
from urllib.parse import urlsplit

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from tenancy.models import Tenant

LONGEST_NAME = 100
LONGEST_ADDRESS = 2000


class AlertChannel(models.Model):
    """A receiver of messages. Its kind never changes.

    A webhook has a URL as its `address`, e-mail has one or more addresses, separated by commas. `secret` is the name of
    a secret in ALERT_SECRETS: the URL of a Slack channel, and the key that signs a webhook. A webhook without one is
    signed with the webhook key of the tenant. `removed_at` is null until a person removes the channel; its
    deliveries stay.
    """

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alert_channels", db_index=False)
    name = models.CharField(max_length=LONGEST_NAME)
    kind = models.CharField(max_length=10, choices=Kind)
    address = models.CharField(max_length=LONGEST_ADDRESS, blank=True)
    secret = models.CharField(max_length=100, blank=True)
    enabled = models.BooleanField(default=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), condition=Q(removed_at=None), name="alert_channel_name_once"
            ),
            models.CheckConstraint(
                condition=(Q(kind="slack", address="") & ~Q(secret=""))
                | (Q(kind="webhook") & ~Q(address=""))
                | (Q(kind="email", secret="") & ~Q(address="")),
                name="alert_channel_has_address",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def shown_address(self) -> str:
        """The address without the parts of a URL that may be secret: its path and its query."""
        if self.kind != self.Kind.WEBHOOK:
            return self.address
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}/{'…' if parts.path.strip('/') or parts.query else ''}"
