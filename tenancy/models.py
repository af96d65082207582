"""Tenants, their members, and their API tokens."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.contrib.postgres.indexes import HashIndex, OpClass
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Left
from django.utils.functional import cached_property
from knox.models import AbstractAuthToken

from tenancy.person_models import Invitation, LoginCounter, Preferences, SavedView, UserSession
from tenancy.quota_table import MOST_OF_A_QUOTA, QUOTAS
from tenancy.roles import ALL_SCOPES, Role, Scope, granted, with_implied
from wire.identity import LONGEST_GROUP, RULE, is_identifier

__all__ = [
    "Allowance",
    "ApiToken",
    "AuditEntry",
    "AuditHead",
    "Grant",
    "Invitation",
    "LoginCounter",
    "Membership",
    "Preferences",
    "SavedView",
    "Tenant",
    "UserSession",
]
SLUG = RegexValidator(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z", "Use 1 to 63 of a-z, 0-9 and inner hyphens.")
LONGEST_TERM, LONGEST_TOKEN_DAYS = 36_500, 365
NAME_ONCE = "token_name_once"
INDEXED_OBJECT = 200
"""How many characters of the object of an audit entry are in the index."""
MOST_GROUPS = 50


def validate_identifier(text: str) -> None:
    """Raise `ValidationError` unless `text` is an identifier (`wire.identity`)."""
    if not is_identifier(text):
        raise ValidationError(f"This {RULE}.", code="identifier")


TERM = (MinValueValidator(1), MaxValueValidator(LONGEST_TERM))


def _retention_days() -> int | None:
    """Return the default for new tenants. The setting is 0 if there is no limit."""
    return settings.RETENTION_DAYS or None


def _failed_retention_days() -> int | None:
    return settings.FAILED_RETENTION_DAYS or None


def _quota(column: str) -> Any:
    [quota] = [candidate for candidate in QUOTAS if candidate.column == column]
    return models.BigIntegerField(
        f"most {quota.label}",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_OF_A_QUOTA)],
        help_text=f"{quota.effect} Empty: no limit.",
    )


class Tenant(models.Model):
    """The owner of pipelines, releases, executions, workers and tokens. Nothing is shared between tenants.

    Executions are removed `retention_days` days after they succeeded or were cancelled, and `failed_retention_days`
    days after they failed. None keeps them permanently. The database's guards read these columns, so the retention
    periods cannot be stored anywhere else.
    """

    slug = models.CharField(max_length=63, unique=True, validators=[SLUG])
    name = models.CharField(max_length=200, validators=[validate_identifier])
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    retention_days = models.PositiveIntegerField(
        "days kept after success or cancellation",
        null=True,
        blank=True,
        default=_retention_days,
        validators=TERM,
        help_text="Older executions are permanently removed, with their histories. Empty: they are never removed.",
    )
    failed_retention_days = models.PositiveIntegerField(
        "days kept after failure",
        null=True,
        blank=True,
        default=_failed_retention_days,
        validators=TERM,
        help_text="The same for FAILED and DLQ executions, which can be re-driven until then.",
    )
    quota_submissions = _quota("quota_submissions")
    quota_open_executions = _quota("quota_open_executions")
    quota_payload_bytes = _quota("quota_payload_bytes")
    quota_storage_bytes = _quota("quota_storage_bytes")
    quota_uploads = _quota("quota_uploads")
    quota_workers = _quota("quota_workers")

    class Meta:
        ordering = ("slug",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(retention_days=None) | models.Q(retention_days__range=(1, LONGEST_TERM)),
                name="tenant_retention_days",
            ),
            models.CheckConstraint(
                condition=models.Q(failed_retention_days=None)
                | models.Q(failed_retention_days__range=(1, LONGEST_TERM)),
                name="tenant_failed_retention_days",
            ),
            *(
                models.CheckConstraint(
                    condition=models.Q((quota.column, None))
                    | models.Q((f"{quota.column}__range", (1, MOST_OF_A_QUOTA))),
                    name=f"tenant_{quota.column}",
                )
                for quota in QUOTAS
            ),
        )

    def __str__(self) -> str:
        return self.slug


class Allowance(models.Model):
    """What a tenant with quotas may still submit. `executions.submission.allowance` reads and writes these rows.

    `granted` submissions were granted to web processes in the second that began at `second`. `settled` executions are
    open at most, without those in grants: they were counted at `counted_at`, or inserted since.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, primary_key=True, related_name="+")
    second = models.DateTimeField()
    granted = models.BigIntegerField()
    settled = models.BigIntegerField()
    counted_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(granted__gte=0, settled__gte=0), name="allowance_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.granted} in {self.second}"


class Grant(models.Model):
    """A part of a tenant's quota of open executions that one web process uses. It counts as open executions."""

    id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    permits = models.BigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(permits__gte=1), name="grant_has_permits"),)

    def __str__(self) -> str:
        return f"{self.permits} of {self.tenant_id}"


class Membership(models.Model):
    """One role of a user in a tenant. A user may have several roles in a tenant: each is a row, and they add up.

    Without `user`, the role waits for an active user with the name `invited`. Triggers set `user` and clear `invited`
    when the row is added, or when the user is created, activated or renamed. The rows of a person have equal `groups`.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="memberships", db_index=False
    )
    invited = models.CharField(max_length=150, blank=True, default="", db_default="")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices())
    groups = ArrayField(models.CharField(max_length=LONGEST_GROUP), default=list, db_default=[], blank=True)

    class Meta:
        ordering = ("tenant", "user", "role")
        verbose_name = "member"
        constraints = (
            models.UniqueConstraint(fields=("user", "tenant", "role"), name="membership_once"),
            models.UniqueConstraint(
                fields=("invited", "tenant", "role"), condition=models.Q(user=None), name="invitation_once"
            ),
            models.CheckConstraint(
                condition=models.Q(user=None) ^ models.Q(invited=""), name="membership_of_user_or_name"
            ),
            models.CheckConstraint(condition=models.Q(role__in=list(map(str, Role))), name="membership_role_known"),
            models.CheckConstraint(
                condition=~models.Q(groups__contains=[""]) & models.Q(groups__len__lte=MOST_GROUPS),
                name="membership_groups",
            ),
        )

    # Set only by `members.listed`. The defaults disclose nothing of the user.
    username = ""
    full_name = ""
    active: bool | None = None
    last_log_in: datetime | None = None

    def __str__(self) -> str:
        return f"{self.user or self.invited} as {self.get_role_display()} of {self.tenant}"


class ApiToken(AbstractAuthToken):
    """A bearer token of one tenant. Only its digest is stored.

    `user` is its owner, who issued it. It expires, and grants no scope that its owner does not currently hold.
    """

    expiry = models.DateTimeField()
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="tokens", db_index=False)
    name = models.CharField(max_length=100, validators=[validate_identifier])
    scopes = ArrayField(models.CharField(max_length=40, choices=[(scope.value, scope.value) for scope in Scope]))
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("tenant", "name")
        verbose_name = "API token"
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name=NAME_ONCE),
            models.CheckConstraint(
                # The trigger `token_stamped` sets `created` and reduces a later expiry to this limit.
                condition=models.Q(expiry__lte=models.F("created") + timedelta(days=LONGEST_TOKEN_DAYS)),
                name="token_expires_within_a_year",
            ),
        )

    # Set only by `access.with_owners`. The defaults make the token invalid.
    owner_roles: Sequence[str] = ()
    has_expired = True

    def __str__(self) -> str:
        return f"{self.name} of {self.tenant}"

    @cached_property
    def usable_scopes(self) -> frozenset[str]:
        """The token's scopes, and those that they imply, that its owner currently holds in the tenant."""
        return with_implied(self.scopes) & self._scopes_of_owner()

    @property
    def has_standing(self) -> bool:
        """True if the owner is active, and a member of the tenant or a superuser."""
        return bool(self._scopes_of_owner())

    def _scopes_of_owner(self) -> frozenset[str]:
        if not self.user.is_active:
            return frozenset()
        if self.user.is_superuser:
            return ALL_SCOPES
        return granted(self.owner_roles)


class AuditHead(models.Model):
    """The newest entry of an audit chain. A trigger locks and updates the row while it appends an entry.

    `tenant` is null for the chain of the installation.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    sequence = models.BigIntegerField()
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant",), name="audit_head_once", nulls_distinct=False),
            models.CheckConstraint(condition=models.Q(sequence__gte=1), name="audit_head_from_one"),
        )

    def __str__(self) -> str:
        return f"{self.sequence} of {self.tenant}"


class AuditEntry(models.Model):
    """One act of a person, a token or the system, granted or not. Entries are never changed or removed.

    `tenant` is null for acts that belong to no tenant. A trigger sets `sequence`, `at`, `previous_hash` and `hash`.
    `details` is a JSON object as compact text with sorted keys. `request_id` and `address` are empty outside of web
    requests. `tenancy.audit.chain` defines the hash.
    """

    class Outcome(models.TextChoices):
        GRANTED = "granted", "Granted"
        DENIED = "denied", "Denied"
        FAILED = "failed", "Failed"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    sequence = models.BigIntegerField()
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    act = models.CharField(max_length=60)
    object_type = models.CharField(max_length=40)
    object = models.CharField(max_length=1000)
    outcome = models.CharField(max_length=10, choices=Outcome)
    reason = models.TextField()
    request_id = models.CharField(max_length=64)
    address = models.CharField(max_length=64)
    details = models.TextField()
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ("-sequence",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = (
            models.Index(fields=("tenant", "act", "-sequence"), name="audit_act"),
            models.Index(fields=("tenant", "actor", "-sequence"), name="audit_actor"),
            # Objects may be longer than the longest entry of an index.
            models.Index(OpClass(Left("object", INDEXED_OBJECT), name="text_pattern_ops"), name="audit_object"),
            HashIndex(fields=("request_id",), name="audit_request"),
            models.Index(fields=("at",), name="audit_time"),
            models.Index(fields=("tenant", "-at", "-sequence"), name="audit_time_of_tenant"),
            models.Index(
                fields=("tenant", "-sequence"),
                condition=models.Q(outcome__in=["denied", "failed"]),
                name="audit_refused",
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=("tenant", "sequence"), name="audit_sequence_once", nulls_distinct=False),
            models.CheckConstraint(
                condition=models.Q(outcome__in=["granted", "denied", "failed"]), name="audit_outcome_known"
            ),
            models.CheckConstraint(condition=models.Q(act__regex=r"^[a-z_]+(\.[a-z_]+)*$"), name="audit_act_form"),
            models.CheckConstraint(
                condition=models.Q(details__startswith="{", details__endswith="}"), name="audit_details_form"
            ),
        )

    def __str__(self) -> str:
        return f"{self.act} by {self.actor}"
