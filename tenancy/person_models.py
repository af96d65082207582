"""What the coordinator keeps of people: log-ins, sessions, invitations, and what they chose for their pages."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models

from tenancy.roles import Role
from wire.identity import LONGEST_GROUP


class LoginCounter(models.Model):
    """Counts the log-in attempts of an account, of an address, or of an account from an address in one time window.

    `key` is a keyed digest, so the row does not disclose the account or the address. The window ends at `ends_at`.
    `known_until` is set after a successful log-in of the account from the address. `tenancy.login` reads and
    writes these rows.
    """

    key = models.CharField(max_length=64, primary_key=True)
    attempts = models.PositiveIntegerField()
    ends_at = models.DateTimeField(db_index=True)
    known_until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.attempts} until {self.ends_at}"


class UserSession(models.Model):
    """Whose a session is, and where it began. `tenancy.sessions` reads and writes these rows.

    A foreign key in the database removes the row with the session.
    """

    LONGEST_AGENT: ClassVar = 300

    session = models.OneToOneField(
        "sessions.Session", on_delete=models.DO_NOTHING, db_constraint=False, related_name="usersession"
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    address = models.CharField(max_length=64)
    user_agent = models.CharField(max_length=LONGEST_AGENT)

    def __str__(self) -> str:
        return f"session of {self.user_id}"


class Invitation(models.Model):
    """Roles for the person who reads the mail of an address: OPEN, then ACCEPTED or WITHDRAWN, which are final.

    `tenancy.invitations` reads and writes these rows, and `outbox.invitation_mail` sends them. `email` is lower case.
    `inviter` answers for the roles, as `invited_by` in the audit log. `token_hash` is the SHA-256 of the newest link's
    token; empty before the first attempt to send it, and after the end. `mail`, `attempts`, `next_at` and `error` are
    those of a message (`outbox.outbox`), which was last requested at `requested_at`.
    """

    class State(models.TextChoices):
        OPEN = "OPEN", "Open"
        ACCEPTED = "ACCEPTED", "Accepted"
        WITHDRAWN = "WITHDRAWN", "Withdrawn"

    class Mail(models.TextChoices):
        PENDING = "PENDING", "Being sent"
        SENT = "SENT", "Sent"
        FAILED = "FAILED", "Not sent"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey("tenancy.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False)
    email = models.CharField(max_length=150)
    roles = ArrayField(models.CharField(max_length=20, choices=Role.choices()))
    groups = ArrayField(models.CharField(max_length=LONGEST_GROUP), default=list, db_default=[], blank=True)
    inviter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    invited_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.OPEN, db_default=State.OPEN)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    ended_at = models.DateTimeField(null=True)
    token_hash = models.CharField(max_length=64, default="", db_default="")
    mail = models.CharField(max_length=10, choices=Mail, default=Mail.PENDING, db_default=Mail.PENDING)
    attempts = models.IntegerField(default=0, db_default=0)
    next_at = models.DateTimeField(db_default=TransactionNow())
    error = models.CharField(max_length=300, default="", db_default="")
    requested_at = models.DateTimeField(db_default=TransactionNow())

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "email"), condition=models.Q(state="OPEN"), name="invitation_open_once"
            ),
            models.CheckConstraint(
                condition=models.Q(state="OPEN", user=None, ended_at=None)
                | models.Q(state="ACCEPTED", user__isnull=False, ended_at__isnull=False, token_hash="")
                | models.Q(state="WITHDRAWN", user=None, ended_at__isnull=False, token_hash=""),
                name="invitation_state",
            ),
            models.CheckConstraint(
                condition=models.Q(roles__len__gte=1, roles__contained_by=list(map(str, Role))),
                name="invitation_roles_known",
            ),
            models.CheckConstraint(
                condition=models.Q(email__regex=r"^[a-z0-9._+-]+@[a-z0-9.-]+$"), name="invitation_email_form"
            ),
            models.CheckConstraint(
                condition=models.Q(("token_hash__regex", "^([0-9a-f]{64})?$")), name="invitation_token_form"
            ),
            models.CheckConstraint(
                condition=models.Q(mail__in=["PENDING", "SENT", "FAILED"]), name="invitation_mail_known"
            ),
        )
        indexes = (
            models.Index(fields=("token_hash",), condition=~models.Q(token_hash=""), name="invitation_token"),
            models.Index(
                fields=("next_at", "id"), condition=models.Q(state="OPEN", mail="PENDING"), name="invitation_due"
            ),
            models.Index(fields=("tenant", "-created_at", "-id"), name="invitation_newest"),
        )

    def __str__(self) -> str:
        return f"Invitation of {self.email}"


class SavedView(models.Model):
    """A search of a list under a name. `tenant` is null for an own view of `owner`. Otherwise its members share it.

    `query` is the query string of the page, without the question mark. `tenancy.preferences` reads and writes these
    rows.
    """

    class Page(models.TextChoices):
        EXECUTIONS = "executions", "Executions"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    tenant = models.ForeignKey("tenancy.Tenant", on_delete=models.PROTECT, null=True, related_name="+")
    page = models.CharField(max_length=20, choices=Page)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("owner", "page", "name"), condition=models.Q(tenant__isnull=True), name="saved_view_own_once"
            ),
            models.UniqueConstraint(
                fields=("tenant", "page", "name"),
                condition=models.Q(tenant__isnull=False),
                name="saved_view_shared_once",
            ),
            models.CheckConstraint(condition=models.Q(page__in=["executions"]), name="saved_view_page"),
            models.CheckConstraint(
                condition=~models.Q(name="") & ~models.Q(query__startswith="?"), name="saved_view_form"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Preferences(models.Model):
    """What a user has chosen for the pages of the admin. `time_zone` is a name of the IANA database."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="preferences"
    )
    time_zone = models.CharField(max_length=64)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(time_zone__regex="^[A-Za-z0-9_+/-]+$"), name="preferences_time_zone_form"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id}: {self.time_zone}"
