"""Tenants, the people who belong to them, and the tokens that act for them."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from knox.models import AbstractAuthToken

from coordinator.tenancy.roles import Role, Scope

SLUG = RegexValidator(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", "Use 1 to 63 of a-z, 0-9 and inner hyphens.")


class Tenant(models.Model):
    """The owner of pipelines, releases, executions, workers and tokens; nothing crosses it."""

    slug = models.CharField(max_length=63, unique=True, validators=[SLUG])
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class Membership(models.Model):
    """A person's one role in one tenant."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)

    class Meta:
        ordering = ("tenant", "user")
        constraints = (
            models.UniqueConstraint(fields=("user", "tenant"), name="membership_once"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        )

    def __str__(self) -> str:
        return f"{self.user} as {self.get_role_display()} of {self.tenant}"


class ApiToken(AbstractAuthToken):
    """A bearer token of one tenant, kept only as a digest. It never outlives the person who issued it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    scopes = ArrayField(models.CharField(max_length=40, choices=[(scope.value, scope.value) for scope in Scope]))
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("tenant", "name")
        verbose_name = "API token"
        constraints = (models.UniqueConstraint(fields=("tenant", "name"), name="token_name_once"),)

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"
