"""Which release and which direct upload is verified next, and how far the verification of a release is.

Tenants take turns (ADR 33). The progress is recorded for the people who watch it. It decides nothing.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from foundation.places import Places, Turns
from releases.models import ArtifactUpload, Release
from releases.states import PENDING, Status, UploadStatus
from wire.documents.descriptor import ArtifactRef, Descriptor
from wire.findings import Finding, Severity


class Step(StrEnum):
    """What the verification does with an artifact. Before the first step, the artifact waits."""

    FETCHING = "FETCHING"
    UNANSWERED = "UNANSWERED"
    CHECKING = "CHECKING"
    CHECKED = "CHECKED"


def findings_so_far(release: Release) -> list[dict[str, str]]:
    """Return the findings of a release. Before its verdict, they include those of the verification so far."""
    findings: list[dict[str, str]] = release.findings
    if release.status not in PENDING:
        return findings
    return findings + [finding for step in release.progress.values() for finding in step["findings"]]


def waits_until(release: Release) -> datetime | None:
    """Return when a release that waits for a repository or registry is rejected. None if it waits for no answer."""
    waits = any(step["step"] == Step.UNANSWERED for step in release.progress.values())
    if not waits or release.status not in PENDING:
        return None
    return release.created_at + timedelta(hours=release.pipeline.verification_hours)


@dataclass(slots=True)
class Progress:
    """The progress of one verification. Each change is committed at once, while the release is VERIFYING."""

    release_id: int
    _steps: dict[str, Any] = field(default_factory=dict)

    def fetching(self, position: int) -> None:
        """A repository is asked for the bytes of the artifact."""
        self._take([position], Step.FETCHING)

    def refused(self, position: int, finding: Finding) -> None:
        """No repository has the bytes. Another artifact may still bring them."""
        self._take([position], Step.FETCHING, [finding])

    def unanswered(self, position: int, finding: Finding) -> None:
        """A repository or registry gave no usable response about the artifact. A later verification asks again."""
        self._take([position], Step.UNANSWERED, [replace(finding, severity=Severity.WARNING)])

    def checking(self, descriptor: Descriptor, artifact: ArtifactRef) -> None:
        """The bytes are stored, and they are read for all artifacts with their digest."""
        positions = [
            place for place, candidate in enumerate(descriptor.artifacts) if candidate.digest == artifact.digest
        ]
        self._take(positions, Step.CHECKING)

    def checked(self, position: int, findings: Sequence[Finding]) -> None:
        """The artifact is checked. If it has no bytes, the refusal of the repositories stays."""
        before = self._steps.get(str(position), {})
        refusals = before["findings"] if before.get("step") == Step.FETCHING else []
        self._take([position], Step.CHECKED, findings, refusals)

    def _take(
        self, positions: Iterable[int], step: Step, findings: Sequence[Finding] = (), earlier: Sequence[Any] = ()
    ) -> None:
        noted = [*earlier, *(finding.to_json() for finding in findings)]
        self._steps |= {str(position): {"step": step, "findings": noted} for position in positions}
        # No row: another process has recorded the verdict.
        Release.objects.filter(pk=self.release_id, status=Status.VERIFYING).update(progress=self._steps)


# A verification renews its claim while it runs. If a claim is older than this, its process has died.
STALLED = timedelta(minutes=2)
RENEWED = timedelta(seconds=20)
CLAIM_NEXT_RELEASE = """
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
"""Claims the oldest due release of the tenant whose last turn is longest ago, except tenants in `full`.

A release is due if it is UPLOADED, or if its verification has not renewed its claim for `stalled` seconds. Returns the
ids of the release and the tenant, and False if another process claimed the release first. No row: no release is due.
"""

CLAIM_NEXT_UPLOAD = """
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
"""Claims the oldest due direct upload, as CLAIM_NEXT_RELEASE does for releases.

A direct upload is due if it is VERIFYING and has no claim, or a claim that was not renewed for `stalled` seconds. No
row: no direct upload is due.
"""


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


RELEASES = Queue(Release, CLAIM_NEXT_RELEASE, "status_changed_at", PENDING)
UPLOADS = Queue(
    ArtifactUpload,
    CLAIM_NEXT_UPLOAD,
    "claimed_at",
    (UploadStatus.VERIFYING,),
    (Q(claimed_at=None) | Q(claimed_at__lt=Now() - STALLED),),
)
