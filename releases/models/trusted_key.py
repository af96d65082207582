"""Trusted keys and their revocations."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from tenancy.models import Tenant


class TrustedKey(models.Model):
    """An ed25519 key whose signatures a tenant trusts until the key is revoked.

    Keys are never changed or removed, so a revoked key cannot be added again.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="trusted_keys")
    name = models.CharField(max_length=100)
    key_id = models.CharField(max_length=64)
    public_key = models.TextField()
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("tenant", "name")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="trusted_key_name_once"),
            models.UniqueConstraint(fields=("tenant", "key_id"), name="trusted_key_once"),
            models.CheckConstraint(condition=Q(key_id__regex=r"^[0-9a-f]{64}$"), name="trusted_key_id_well_formed"),
            models.CheckConstraint(condition=~Q(name__regex=r"^\s*$"), name="trusted_key_name_not_blank"),
        )

    def __str__(self) -> str:
        return self.name


class KeyRevocation(models.Model):
    """The append-only event that revoked a trusted key permanently."""

    key = models.OneToOneField(TrustedKey, on_delete=models.PROTECT, related_name="revocation")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    revoked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="key_revocation_says_why"),)

    def __str__(self) -> str:
        return f"{self.key} revoked"
