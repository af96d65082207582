"""The bytes of a tenant: those that its releases may refer to, those that they miss, and how many it may upload.

Knowledge of a digest gives no right to its bytes: the tenant has sent them, or may download them.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from foundation.errors import QuotaExceeded
from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import StagedBlob
from releases.models import Artifact, ArtifactUpload, Blob, Release
from releases.states import PENDING, Status, UploadStatus
from tenancy.models import Tenant
from tenancy.quotas import StorageQuotaReached
from wire.documents.descriptor import ArtifactKind

STORED_KINDS = [kind for kind in ArtifactKind if kind.is_stored]


def owned(tenant: Tenant, among: Collection[str]) -> set[str]:
    """Return the digests whose bytes the tenant has sent before, and which are stored."""
    registered = Artifact.objects.filter(release__pipeline__tenant=tenant, blob__in=among).exclude(
        blob__state=Blob.State.REMOVED
    )
    uploads = ArtifactUpload.objects.filter(tenant=tenant, status=UploadStatus.STORED, digest__in=among)
    sound = Blob.objects.filter(state=Blob.State.SOUND, digest__in=uploads.values("digest"))
    return set(registered.values_list("blob", flat=True)) | set(sound.values_list("digest", flat=True))


def digests(release: Release) -> set[str]:
    """Return the digests of the bytes that the release misses."""
    return set(_missing(release).values_list("digest", flat=True))


def add(release: Release, staged: StagedBlob, *, resolved: bool) -> None:
    """Store the bytes, and add them to the artifacts that miss them. `resolved` means that a repository had them.

    If the release has a verdict by now, nothing is recorded.
    """
    digest = staged.digest
    with blob_lock.shared([digest]) as lease:
        fingerprint = staged.keep()
        with lease.transaction():
            if _is_pending(release):
                blobs.record_sound(digest, size=staged.size, fingerprint=fingerprint)
                _missing(release).filter(digest=digest).update(blob=digest, resolved=resolved)


def heal(release: Release, staged: Mapping[str, StagedBlob], lease_seconds: float) -> None:
    """Replace missing or damaged bytes of a stored release with the uploaded ones. Until its verdict, add missing ones.

    Waits up to `lease_seconds` for each process that removes the same bytes.
    """
    held = set(release.artifacts.filter(blob__in=staged.keys()).values_list("blob", flat=True))
    for digest in sorted(held):
        with blob_lock.shared([digest], timeout=lease_seconds) as lease:
            fingerprint = staged[digest].keep()
            with lease.transaction():
                blobs.record_sound(digest, size=staged[digest].size, fingerprint=fingerprint)
    if release.status in PENDING:
        for digest in sorted(digests(release) & staged.keys()):
            add(release, staged[digest], resolved=False)
        _add_owned(release, lease_seconds)


def _add_owned(release: Release, lease_seconds: float) -> None:
    """Add the bytes that the tenant has sent since the release was stored."""
    tenant = release.pipeline.tenant
    wanted = digests(release)
    with blob_lock.shared(wanted, timeout=lease_seconds) as lease, lease.transaction():
        if _is_pending(release):
            _missing(release).filter(digest__in=owned(tenant, wanted)).update(blob=F("digest"))


def _is_pending(release: Release) -> bool:
    """Return True if the release has no verdict. The lock keeps another transaction from recording one."""
    pending = Release.objects.select_for_update(no_key=True).filter(pk=release.pk, status__in=PENDING)
    return pending.exists()


def _missing(release: Release) -> QuerySet[Artifact]:
    return release.artifacts.filter(blob=None, kind__in=STORED_KINDS)


HOUR = timedelta(hours=1)
_RECENT = """
SELECT (SELECT count(*) FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        WHERE p.tenant_id = %(tenant)s AND r.created_at > now() - %(since)s)
    + (SELECT count(*) FROM releases_artifactupload u
        WHERE u.tenant_id = %(tenant)s AND u.created_at > now() - %(since)s)
"""
RETRY_SECONDS = 60
"""When to try an upload again. It succeeds when an earlier one is an hour old."""


def admit(tenant: Tenant, sizes: Mapping[str, int]) -> None:
    """Raise `QuotaExceeded` or `StorageQuotaReached` unless the tenant may upload bytes of these digests and sizes.

    Locks the tenant if it has such a quota, so that concurrent uploads cannot exceed it. Call this in the transaction
    that writes the upload, before other locks.
    """
    if tenant.quota_uploads is None and tenant.quota_storage_bytes is None:
        return
    locked = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    limit = locked.quota_uploads
    if limit is not None and recent_uploads(locked) >= limit:
        detail = f"The tenant's quota uploadsPerHour is {limit:,}."
        raise QuotaExceeded(detail, quota="uploadsPerHour", retryAfter=RETRY_SECONDS)
    limit = locked.quota_storage_bytes
    if limit is None:
        return
    held = _sizes(locked)
    used, new = sum(held.values()), sum(size for digest, size in sizes.items() if digest not in held)
    if new and used + new > limit:
        detail = f"The tenant's quota storageBytes is {limit:,}, and {used:,} bytes are used."
        raise StorageQuotaReached(detail, quota="storageBytes", limit=limit)


def recent_uploads(tenant: Tenant) -> int:
    """Return the number of releases and direct uploads of the last hour."""
    parameters: dict[str, Any] = {"tenant": tenant.pk, "since": HOUR}
    with connection.cursor() as cursor:
        cursor.execute(_RECENT, parameters)
        [count] = cursor.fetchone()
    return int(count)


def stored_bytes(tenant: Tenant) -> int:
    """Return the bytes of the tenant's artifacts and direct uploads that are not removed, each digest once."""
    return sum(_sizes(tenant).values())


def _sizes(tenant: Tenant) -> dict[str, int]:
    artifacts = (
        Artifact.objects.filter(release__pipeline__tenant=tenant, blob__isnull=False)
        .exclude(release__status=Status.REJECTED)
        .exclude(blob__state=Blob.State.REMOVED)
    )
    uploads = ArtifactUpload.objects.filter(tenant=tenant)
    open_uploads = uploads.filter(status__in=(UploadStatus.OPEN, UploadStatus.VERIFYING), expires_at__gt=Now())
    removed = Blob.objects.filter(digest=OuterRef("digest"), state=Blob.State.REMOVED)
    stored = uploads.filter(~Exists(removed), status=UploadStatus.STORED)
    uploaded = (rows.order_by().values_list("digest", "size") for rows in (open_uploads, stored))
    return dict(artifacts.order_by().values_list("blob", "blob__size").union(*uploaded))
