"""Protects callers that were built against one release from a switch to another.

Such a caller names its release. It gets the release while it is active or a candidate, and for a grace time after it
was replaced. The policy of the pipeline sets the grace. The database decides what is open: see `release_open_until`.
A resubmission may name a release that was replaced at any time.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import DateTimeField, Func, QuerySet

from releases import statements
from releases.errors import ReleaseNotOpen
from releases.models import Release


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether callers that name a release get it now. `grace_ends` is set if the release was replaced."""

    is_open: bool
    grace_ends: datetime | None

    @property
    def is_in_grace(self) -> bool:
        return self.is_open and self.grace_ends is not None


def opening(release: Release) -> Opening:
    """Return whether callers that name a release get it now, by the time and the tables of the database."""
    with connection.cursor() as cursor:
        cursor.execute(statements.OPENING, {"release": release.pk})
        [(is_open, grace_ends)] = cursor.fetchall()
    return Opening(is_open, grace_ends)


def open_or_replaced(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the releases among `rows` that a resubmission may name: they are open, or were active before."""
    until = Func("pk", function="release_open_until", output_field=DateTimeField())
    return rows.alias(open_until=until).filter(open_until__isnull=False)


def require_open(release: Release, *, or_replaced: bool = False) -> None:
    """Raise `ReleaseNotOpen` unless callers that name the release get it now.

    With `or_replaced`, it may have been replaced at any time. One that was never active is refused all the same.
    """
    found = opening(release)
    if found.is_open or (or_replaced and found.grace_ends is not None):
        return
    activation = release.pipeline.activation
    active = activation.release.release_version if activation else None
    if found.grace_ends is None:
        why = "was never active"
    else:
        why = f"was replaced, and was open until {found.grace_ends.isoformat(timespec='seconds')}"
    raise ReleaseNotOpen(
        f"Release {release.release_version!r} {why}. The active release is {active or 'none'!r}.",
        active=active,
        may_open=found.grace_ends is None,
    )
