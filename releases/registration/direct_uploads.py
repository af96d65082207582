"""Direct uploads: clients send large artifacts to the artifact store, and the coordinator verifies them.

The parts go to a staging key of the upload. The coordinator reads and hashes the object, and then the store copies it
to the key of its digest. A client that could write to that key could store any bytes under any digest.

An upload belongs to a tenant. Once it is STORED, the tenant's releases may name its digest without sending the bytes.
The upload proves that the tenant has the bytes. Knowledge of the digest alone does not.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from foundation import wakeup
from foundation.database import writes
from foundation.errors import PayloadTooLarge
from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import artifact_store
from releases.errors import (
    ArtifactStoreUnavailable,
    DirectUploadsFull,
    DirectUploadsUnavailable,
    UploadIncomplete,
    UploadNotOpen,
    UploadUnknown,
)
from releases.models import ArtifactUpload, Blob
from releases.registration import tenant_bytes
from releases.registration.progress import UPLOADS
from releases.states import UPLOAD_MOVES, UploadStatus
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.findings import Finding

if TYPE_CHECKING:
    from releases.artifacts.s3_store import DirectUploads

FINISH_TASK = "releases.finish_upload"
MAX_URLS = 100
"""The maximum number of presigned requests in one response. Further requests return the rest."""
MAX_OPEN = 50
"""The maximum number of open uploads of a tenant."""
UPLOAD_TIME = timedelta(days=1)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A missing part: a PUT of exactly `size` bytes, from `offset` on, to `url`."""

    number: int
    offset: int
    size: int
    url: str


def begin(tenant: Tenant, *, digest: str, size: int, actor: str) -> ArtifactUpload:
    """Return the tenant's upload of those bytes: a live or stored one, or else a new one.

    Raises `DirectUploadsUnavailable`, `DirectUploadsFull`, `PayloadTooLarge`, `ArtifactStoreUnavailable`, and for the
    tenant's quotas `QuotaExceeded` and `StorageQuotaReached`.
    """
    direct = _direct()
    if size > settings.MAX_ARTIFACT_BYTES:
        limit = settings.MAX_ARTIFACT_BYTES
        raise PayloadTooLarge(f"An artifact can have at most {limit} bytes.", limit=limit)
    upload = _current(tenant, digest, size) or _create(tenant, digest, size, actor)
    if upload.status == UploadStatus.OPEN and not upload.storage_id:
        _open(direct, upload)
    return upload


def find(tenant: Tenant, upload_id: str) -> ArtifactUpload:
    """Return the tenant's upload with this id. Raises `UploadUnknown`."""
    try:
        upload = ArtifactUpload.objects.filter(tenant=tenant, pk=UUID(upload_id)).first()
    except ValueError:
        upload = None
    if upload is None:
        raise UploadUnknown(f"There is no upload {upload_id!r}.")
    return upload


def missing(upload: ArtifactUpload) -> tuple[int, list[Part]]:
    """Return the number of received bytes, and the first missing parts with their URLs.

    Only an OPEN upload has missing parts. Raises `ArtifactStoreUnavailable` and `DirectUploadsUnavailable`.
    """
    if upload.status == UploadStatus.OPEN and not upload.storage_id:
        _open(_direct(), upload)
    if upload.status != UploadStatus.OPEN:
        return (upload.size, []) if upload.status in (UploadStatus.VERIFYING, UploadStatus.STORED) else (0, [])
    direct = _direct()
    received = direct.parts(str(upload.pk), upload.storage_id)
    wanted = [(number, size) for number, size in _sizes(upload) if received.get(number) != size]
    parts = [
        Part(number, (number - 1) * upload.part_size, size, direct.url(str(upload.pk), upload.storage_id, number, size))
        for number, size in wanted[:MAX_URLS]
    ]
    return upload.size - sum(size for _, size in wanted), parts


def complete(upload: ArtifactUpload, *, actor: str = "") -> ArtifactUpload:
    """Start the verification of an upload that has all its parts. A repeated call changes nothing.

    `actor` is who began the upload by default.

    Raises `UploadIncomplete`, `UploadNotOpen`, `ArtifactStoreUnavailable`.
    """
    if upload.status in (UploadStatus.EXPIRED, UploadStatus.REJECTED):
        raise UploadNotOpen(f"The upload is {upload.status}. Begin a new one.")
    if upload.status == UploadStatus.OPEN:
        if missing(upload)[1]:
            raise UploadIncomplete("Some parts are missing.")
        with transaction.atomic():
            if _move(upload, UploadStatus.OPEN, UploadStatus.VERIFYING):
                wakeup.send(FINISH_TASK)
                _record(Act.ARTIFACT_UPLOAD_COMPLETE, upload, actor or upload.uploaded_by)
        upload.refresh_from_db()
    return upload


def finish(upload_id: str | UUID) -> None:
    """Hash the bytes of an upload, and store them under their digest or reject the upload.

    Several processes may call this for the same upload, at the same time or later. If the store is unavailable, the
    upload stays VERIFYING, and the sweep retries it.
    """
    upload = ArtifactUpload.objects.filter(pk=upload_id).first()
    direct = artifact_store().direct
    if upload is None or direct is None or upload.status != UploadStatus.VERIFYING:
        return
    try:
        finding = _verify(direct, upload)
    except ArtifactStoreUnavailable as error:
        log.warning("upload %s cannot be verified yet: %s", upload_id, error.detail)
        return
    if finding is not None:
        _move(upload, UploadStatus.VERIFYING, UploadStatus.REJECTED, finding=finding.to_json())
    clear(upload)


def expire() -> int:
    """Expire overdue uploads, and clear the staging keys of finished ones. Return the number of expired uploads."""
    late = ArtifactUpload.objects.filter(status=UploadStatus.OPEN, expires_at__lt=timezone.now())
    expired = sum(_move(upload, UploadStatus.OPEN, UploadStatus.EXPIRED) for upload in late[:100])
    finished = (UploadStatus.STORED, UploadStatus.REJECTED, UploadStatus.EXPIRED)
    for upload in ArtifactUpload.objects.filter(status__in=finished, cleared=False)[:100]:
        if not clear(upload):
            break
    return expired


def clear(upload: ArtifactUpload) -> bool:
    """Remove the bytes under the staging key of a finished upload. Return False on failure; the sweep then retries."""
    direct = artifact_store().direct
    if direct is None:
        return False
    try:
        direct.discard(str(upload.pk), upload.storage_id)
    except ArtifactStoreUnavailable as error:
        log.warning("upload %s is not cleared yet: %s", upload.pk, error.detail)
        return False
    ArtifactUpload.objects.filter(pk=upload.pk).exclude(status__in=(UploadStatus.OPEN, UploadStatus.VERIFYING)).update(
        cleared=True
    )
    return True


def _verify(direct: "DirectUploads", upload: ArtifactUpload) -> Finding | None:
    """Return what is wrong with the bytes.

    None if they are stored under their digest, or if another process has recorded the verdict.
    """
    name, store, renew = str(upload.pk), artifact_store(), UPLOADS.renewing(upload.pk)
    staged = direct.read(name, renew) if direct.join(name, upload.storage_id) else None
    if staged is None:
        upload.refresh_from_db()
        missing = Finding("UPLOAD_GONE", "", "the uploaded bytes are no longer in the artifact store")
        return missing if upload.status == UploadStatus.VERIFYING else None
    if (staged.digest, staged.size) != (upload.digest, upload.size) and direct.read(name, renew) != staged:
        raise ArtifactStoreUnavailable("Two reads of the uploaded bytes differ.")
    if staged.size != upload.size:
        return Finding("UPLOAD_SIZE_MISMATCH", "size", f"{staged.size} bytes were uploaded instead of {upload.size}")
    if staged.digest != upload.digest:
        return Finding("UPLOAD_DIGEST_MISMATCH", "digest", f"the bytes have the digest {staged.digest}")
    with blob_lock.shared([upload.digest]) as lease:
        if not direct.place(name, staged, store.key(upload.digest), lambda: store.verified(upload.digest, renew)):
            raise ArtifactStoreUnavailable("The staged bytes were removed while they were copied.")
        stat = store.stat(upload.digest)
        if stat is None or stat.size != upload.size:
            raise ArtifactStoreUnavailable("The artifact store does not have the bytes that it accepted.")
        with lease.transaction():
            blobs.record_sound(upload.digest, size=stat.size, fingerprint=stat.fingerprint)
            _move(upload, UploadStatus.VERIFYING, UploadStatus.STORED)
    return None


def _direct() -> "DirectUploads":
    direct = artifact_store().direct
    if direct is None:
        raise DirectUploadsUnavailable(
            "The artifact store does not support direct uploads. Send the files with the release."
        )
    return direct


def _current(tenant: Tenant, digest: str, size: int) -> ArtifactUpload | None:
    rows = ArtifactUpload.objects.filter(tenant=tenant, digest=digest, size=size)
    live = rows.filter(status=UploadStatus.VERIFYING) | rows.filter(
        status=UploadStatus.OPEN, expires_at__gt=timezone.now()
    )
    sound = Blob.objects.filter(digest=digest, state=Blob.State.SOUND)
    return live.first() or rows.filter(status=UploadStatus.STORED, digest__in=sound.values("digest")).first()


def _create(tenant: Tenant, digest: str, size: int, actor: str) -> ArtifactUpload:
    rows = ArtifactUpload.objects.filter(tenant=tenant, status=UploadStatus.OPEN)
    for late in rows.filter(expires_at__lte=timezone.now()):
        _move(late, UploadStatus.OPEN, UploadStatus.EXPIRED)
    if rows.count() >= MAX_OPEN:
        raise DirectUploadsFull(f"{MAX_OPEN} uploads are open. Finish some of them first.")
    try:
        with transaction.atomic():
            tenant_bytes.admit(tenant, {digest: size})
            created = ArtifactUpload.objects.create(
                tenant=tenant,
                digest=digest,
                size=size,
                part_size=settings.UPLOAD_PART_BYTES,
                status=UploadStatus.OPEN,
                uploaded_by=actor,
                expires_at=timezone.now() + UPLOAD_TIME,
            )
            _record(Act.ARTIFACT_UPLOAD_BEGIN, created, actor)
            return created
    except IntegrityError:
        # Another request has created the same upload.
        return ArtifactUpload.objects.get(
            tenant=tenant, digest=digest, size=size, status__in=(UploadStatus.OPEN, UploadStatus.VERIFYING)
        )


def _record(act: Act, upload: ArtifactUpload, actor: str) -> None:
    details: dict[str, Any] = {"digest": upload.digest, "size": upload.size}
    audit.record(act, tenant=upload.tenant, actor=actor, object=upload.pk, **details)


def _open(direct: "DirectUploads", upload: ArtifactUpload) -> None:
    storage_id = direct.begin(str(upload.pk))
    unopened = ArtifactUpload.objects.filter(pk=upload.pk, status=UploadStatus.OPEN, storage_id="")
    if not unopened.update(storage_id=storage_id):
        # No row: another request opened the upload first, or it has expired.
        direct.abort(str(upload.pk), storage_id)
    upload.refresh_from_db()


def _sizes(upload: ArtifactUpload) -> Iterator[tuple[int, int]]:
    """Yield the number and the size of each part."""
    count = max(1, math.ceil(upload.size / upload.part_size))
    for number in range(1, count + 1):
        yield number, min(upload.part_size, upload.size - (number - 1) * upload.part_size)


def _move(upload: ArtifactUpload, source: UploadStatus, target: UploadStatus, **changes: object) -> bool:
    row = ArtifactUpload.objects.filter(pk=upload.pk)
    return writes.move(row, UPLOAD_MOVES, source, target, status_changed_at=timezone.now(), **changes)
