"""Chooses the next release and the next direct upload to verify, so that tenants take turns (ADR 33)."""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation.scheduling.places import Places, Turns
from releases import statements
from releases.models import ArtifactUpload, Release
from releases.states import PENDING, Status, UploadStatus

# A verification renews its claim while it runs. If a claim is older than this, its process has died.
STALLED = timedelta(minutes=2)
RENEWED = timedelta(seconds=20)


def of_releases(places: Places) -> Turns:
    """Return the turns for the verification of releases. The oldest release of a tenant is first."""
    return Turns(statements.CLAIM_NEXT_RELEASE, {"stalled": STALLED.total_seconds()}, places)


def of_uploads(places: Places) -> Turns:
    """Return the turns for the verification of direct uploads. The oldest upload of a tenant is first."""
    return Turns(statements.CLAIM_NEXT_UPLOAD, {"stalled": STALLED.total_seconds()}, places)


def stalled_releases() -> QuerySet[Release]:
    """Return the releases that wait for verification and have not changed for STALLED."""
    return Release.objects.filter(status__in=PENDING, status_changed_at__lt=Now() - STALLED)


def stalled_uploads() -> QuerySet[ArtifactUpload]:
    """Return the direct uploads that wait for verification and were neither completed nor claimed within STALLED."""
    return ArtifactUpload.objects.filter(
        Q(claimed_at=None) | Q(claimed_at__lt=Now() - STALLED),
        status=UploadStatus.VERIFYING,
        status_changed_at__lt=Now() - STALLED,
    )


def renewing_release(release_id: int) -> Callable[[], None]:
    """Return a function that renews the claim of a release that is being verified, at most once in RENEWED."""
    rows = Release.objects.filter(pk=release_id, status=Status.VERIFYING)
    return _throttled(lambda: rows.update(status_changed_at=Now()))


def renewing_upload(upload_id: UUID) -> Callable[[], None]:
    """Return a function that renews the claim of a direct upload that is being verified, at most once in RENEWED."""
    rows = ArtifactUpload.objects.filter(pk=upload_id, status=UploadStatus.VERIFYING)
    return _throttled(lambda: rows.update(claimed_at=Now()))


def _throttled(renew: Callable[[], object]) -> Callable[[], None]:
    due = time.monotonic()

    def renew_if_due() -> None:
        nonlocal due
        if time.monotonic() >= due:
            renew()
            due = time.monotonic() + RENEWED.total_seconds()

    return renew_if_due
