"""What the coordinator keeps of people: log-ins, sessions, and what they chose for their pages."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import models


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
