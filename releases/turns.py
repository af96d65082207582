"""Chooses what is verified next, so that tenants take turns (ADR 34).

The choice is made from the rows that are due, and never by the order of messages: a tenant with a hundred uploads
waits as long for its second one as any other tenant waits for its first.
"""

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from releases.models import ArtifactUpload, Release
from releases.states import PENDING, Status, UploadStatus

# A verification renews its claim while it works. One that did not for this long has lost its process.
STALLED = timedelta(minutes=2)

RELEASES = """
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
UPLOADS = """
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


def stalled_releases() -> QuerySet[Release]:
    """Return the releases that wait for verification although nothing has happened to them for STALLED."""
    return Release.objects.filter(status__in=PENDING, status_changed_at__lt=Now() - STALLED)


def stalled_uploads() -> QuerySet[ArtifactUpload]:
    """Return the direct uploads for which the same is true."""
    return ArtifactUpload.objects.filter(
        Q(claimed_at=None) | Q(claimed_at__lt=Now() - STALLED),
        status=UploadStatus.VERIFYING,
        status_changed_at__lt=Now() - STALLED,
    )


def renew(release_id: int) -> None:
    """Note that the release is still being verified."""
    Release.objects.filter(pk=release_id, status=Status.VERIFYING).update(status_changed_at=Now())


@dataclass
class Turns:
    """The work of one kind that this process does at once: at most `most` rows.

    `statement` claims the oldest due row of the tenant whose last turn is longest ago. One tenant gets at most all
    places but one, so that another tenant never waits for a place.
    """

    statement: str
    most: int = 2
    _running: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(self) -> Iterator[Any]:
        """Claim the next row and yield its id. Yield None if nothing is due or every place is taken."""
        with self._lock:
            row = self._claim() if self._running.total() < self.most else None
            if row is not None:
                self._running[row[1]] += 1
        try:
            yield row and row[0]
        finally:
            if row is not None:
                with self._lock:
                    self._running[row[1]] -= 1

    def _claim(self) -> tuple[Any, int] | None:
        full = [tenant for tenant, running in self._running.items() if running >= max(self.most - 1, 1)]
        while True:
            found = _claim(self.statement, full)
            if found is None or found[2]:
                return found and found[:2]


def _claim(statement: str, full: Collection[int]) -> tuple[Any, int, bool] | None:
    """Return the row and its tenant, and False if another process claimed it first; None if nothing is due."""
    with connection.cursor() as cursor:
        cursor.execute(statement, {"full": list(full), "stalled": STALLED.total_seconds()})
        row: tuple[Any, int, bool] | None = cursor.fetchone()
        return row
