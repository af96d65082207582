"""The quotas of uploads: how many a tenant may begin in an hour, and how many bytes its artifacts may have."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from foundation.errors import QuotaExceeded
from releases.models import Artifact, ArtifactUpload, Blob
from releases.states import Status, UploadStatus
from tenancy.models import Tenant
from tenancy.quotas import StorageQuotaReached

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
    if limit is not None and recent(locked) >= limit:
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


def recent(tenant: Tenant) -> int:
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
    uploaded = (each.order_by().values_list("digest", "size") for each in (open_uploads, stored))
    return dict(artifacts.order_by().values_list("blob", "blob__size").union(*uploaded))
