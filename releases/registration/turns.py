"""Chooses the next release and the next direct upload to verify, so that tenants take turns (ADR 33)."""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation.scheduling.places import Places
from foundation.scheduling.turns import Turns
from releases.models import ArtifactUpload, Release
from releases.states import PENDING, Status, UploadStatus

# A verification renews its claim while it runs. If a claim is older than this, its process has died.
STALLED = timedelta(minutes=2)
RENEWED = timedelta(seconds=20)

_RELEASES = """
WITH due AS (
    SELECT DISTINCT ON (p.tenant_id) r.id, p.tenant_id, r.status_changed_at AS since
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE p.tenant_id <> ALL(%(full)s) AND r.status IN ('UPLOADED', 'VERIFYING')
        AND (r.status = 'UPLOADED' OR r.status_changed_at < statement_timestamp() - make_interval(secs => %(stalled)s))
    ORDER BY p.tenant_id, r.status_changed_at, r.id
), served AS (
    SELECT p.tenant_id, max(r.status_changed_at) AS at
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE r.status <> 'UPLOADED' AND p.tenant_id IN (SELECT tenant_id FROM due) GROUP BY 1
), next AS (
    SELECT due.* FROM due LEFT JOIN served USING (tenant_id) ORDER BY served.at NULLS FIRST, due.since, due.id LIMIT 1
), claimed AS (
    UPDATE releases_release r SET status = 'VERIFYING', status_changed_at = statement_timestamp()
    FROM next WHERE r.id = next.id AND r.status IN ('UPLOADED', 'VERIFYING') AND r.status_changed_at = next.since
    RETURNING r.id
)
SELECT next.id, next.tenant_id, claimed.id IS NOT NULL FROM next LEFT JOIN claimed USING (id)
"""
_UPLOADS = """
WITH due AS (
    SELECT DISTINCT ON (u.tenant_id) u.id, u.tenant_id, u.status_changed_at AS since, u.claimed_at
    FROM releases_artifactupload u
    WHERE u.tenant_id <> ALL(%(full)s) AND u.status = 'VERIFYING'
        AND (u.claimed_at IS NULL OR u.claimed_at < statement_timestamp() - make_interval(secs => %(stalled)s))
    ORDER BY u.tenant_id, u.status_changed_at, u.id
), served AS (
    SELECT u.tenant_id, max(u.claimed_at) AS at FROM releases_artifactupload u
    WHERE u.tenant_id IN (SELECT tenant_id FROM due) GROUP BY 1
), next AS (
    SELECT due.* FROM due LEFT JOIN served USING (tenant_id) ORDER BY served.at NULLS FIRST, due.since, due.id LIMIT 1
), claimed AS (
    UPDATE releases_artifactupload u SET claimed_at = statement_timestamp()
    FROM next WHERE u.id = next.id AND u.status = 'VERIFYING' AND u.claimed_at IS NOT DISTINCT FROM next.claimed_at
    RETURNING u.id
)
SELECT next.id, next.tenant_id, claimed.id IS NOT NULL FROM next LEFT JOIN claimed USING (id)
"""


def of_releases(places: Places) -> Turns:
    """Turns for the verification of releases: of each tenant the oldest upload first."""
    return Turns(_RELEASES, {"stalled": STALLED.total_seconds()}, places)


def of_uploads(places: Places) -> Turns:
    """Turns for the verification of direct uploads."""
    return Turns(_UPLOADS, {"stalled": STALLED.total_seconds()}, places)


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
    return _sometimes(lambda: rows.update(status_changed_at=Now()))


def renewing_upload(upload_id: UUID) -> Callable[[], None]:
    """Return a function that renews the claim of a direct upload that is being verified, at most once in RENEWED."""
    rows = ArtifactUpload.objects.filter(pk=upload_id, status=UploadStatus.VERIFYING)
    return _sometimes(lambda: rows.update(claimed_at=Now()))


def _sometimes(renew: Callable[[], object]) -> Callable[[], None]:
    due = time.monotonic()

    def renew_if_due() -> None:
        nonlocal due
        if time.monotonic() >= due:
            renew()
            due = time.monotonic() + RENEWED.total_seconds()

    return renew_if_due
