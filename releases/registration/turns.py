"""Chooses the next release and the next direct upload to verify, so that tenants take turns (ADR 33)."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation.places import Places, Turns
from releases import statements
from releases.models import ArtifactUpload, Release
from releases.states import PENDING, Status, UploadStatus

# A verification renews its claim while it runs. If a claim is older than this, its process has died.
STALLED = timedelta(minutes=2)
RENEWED = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Queue:
    """Rows of one kind that wait for verification, or whose process has died.

    `statement` claims the next one. `claimed` is the column with the time of its claim, or of the last renewal.
    With one of the `statuses`, a row waits. `unclaimed` are further conditions.
    """

    model: type[Release] | type[ArtifactUpload]
    statement: str
    claimed: str
    statuses: Collection[str]
    unclaimed: tuple[Q, ...] = ()

    def turns(self, places: Places) -> Turns:
        """Return the turns for the verification. The oldest row of a tenant is first."""
        return Turns(self.statement, {"stalled": STALLED.total_seconds()}, places)

    def stalled(self) -> QuerySet[Any]:
        """Return the rows that wait and have not changed for STALLED."""
        return self.model.objects.filter(
            *self.unclaimed, status__in=self.statuses, status_changed_at__lt=Now() - STALLED
        )

    def renewing(self, key: Any) -> Callable[[], None]:
        """Return a function that renews the claim of a row that is being verified, at most once in RENEWED."""
        rows = self.model.objects.filter(pk=key, status=Status.VERIFYING)
        due = time.monotonic()

        def renew_if_due() -> None:
            nonlocal due
            if time.monotonic() >= due:
                rows.update(**{self.claimed: Now()})
                due = time.monotonic() + RENEWED.total_seconds()

        return renew_if_due


RELEASES = Queue(Release, statements.CLAIM_NEXT_RELEASE, "status_changed_at", PENDING)
UPLOADS = Queue(
    ArtifactUpload,
    statements.CLAIM_NEXT_UPLOAD,
    "claimed_at",
    (UploadStatus.VERIFYING,),
    (Q(claimed_at=None) | Q(claimed_at__lt=Now() - STALLED),),
)
