"""Direct uploads: large artifacts go straight to S3, and the coordinator verifies what came (ADR 15).

An upload belongs to its tenant. Once it is STORED, the tenant's releases may name the digest without sending the
bytes: it has proved that it has them, which knowing the digest does not.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from foundation.database import guarded_update
from foundation.errors import PayloadTooLarge
from foundation.wakeups import wakeup
from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import DirectUploads, artifact_store
from releases.errors import (
    ArtifactStoreUnavailable,
    DirectUploadsFull,
    DirectUploadsUnavailable,
    UploadIncomplete,
    UploadNotOpen,
    UploadUnknown,
)
from releases.models import ArtifactUpload, Blob
from releases.registration import turns
from releases.states import UPLOAD_MOVES, UploadStatus
from tenancy.models import Tenant
from wire.findings import Finding

FINISH_TASK = "releases.finish_upload"
MOST_URLS = 100
"""How many presigned requests one answer holds; ask again for the rest."""
MOST_OPEN = 50
"""How many uploads of a tenant may be open at once."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is not there yet: a PUT of exactly `size` bytes, from `offset` on, to `url`."""

    number: int
    offset: int
    size: int
    url: str


def offered() -> bool:
    """Whether the artifact store takes direct uploads."""
    return artifact_store().direct is not None


def begin(tenant: Tenant, *, digest: str, size: int, actor: str) -> ArtifactUpload:
    """The tenant's upload of those bytes: the one that is under way or done, or else a new one.

    Raises `DirectUploadsUnavailable`, `DirectUploadsFull`, `PayloadTooLarge`, `ArtifactStoreUnavailable`.
    """
    direct = _direct()
    if size > settings.MAX_ARTIFACT_BYTES:
        limit = settings.MAX_ARTIFACT_BYTES
        raise PayloadTooLarge(f"An artifact may have at most {limit} bytes.", limit=limit)
    upload = _current(tenant, digest, size) or _made(tenant, digest, size, actor)
    if upload.status == UploadStatus.OPEN and not upload.storage_id:
        _open(direct, upload)
    return upload


def find(tenant: Tenant, upload_id: str) -> ArtifactUpload:
    """Raises `UploadUnknown`."""
    try:
        found = ArtifactUpload.objects.filter(tenant=tenant, pk=UUID(upload_id)).first()
    except ValueError:
        found = None
    if found is None:
        raise UploadUnknown(f"There is no upload {upload_id!r}.")
    return found


def missing(upload: ArtifactUpload) -> tuple[int, list[Part]]:
    """How many bytes are there, and the first parts that are not, each with its address. None unless it is OPEN."""
    if upload.status == UploadStatus.OPEN and not upload.storage_id:
        _open(_direct(), upload)
    if upload.status != UploadStatus.OPEN:
        return (upload.size, []) if upload.status in (UploadStatus.VERIFYING, UploadStatus.STORED) else (0, [])
    direct = _direct()
    there = direct.parts(str(upload.pk), upload.storage_id)
    wanted = [(number, size) for number, size in _sizes(upload) if there.get(number) != size]
    parts = [
        Part(number, (number - 1) * upload.part_size, size, direct.url(str(upload.pk), upload.storage_id, number, size))
        for number, size in wanted[:MOST_URLS]
    ]
    return upload.size - sum(size for _, size in wanted), parts


def complete(upload: ArtifactUpload) -> ArtifactUpload:
    """Have the bytes verified, once every part is there. Again, it changes nothing.

    Raises `UploadIncomplete`, `UploadNotOpen`, `ArtifactStoreUnavailable`.
    """
    if upload.status in (UploadStatus.EXPIRED, UploadStatus.REJECTED):
        raise UploadNotOpen(f"The upload is {upload.status}; begin it anew.")
    if upload.status == UploadStatus.OPEN:
        if missing(upload)[1]:
            raise UploadIncomplete("Not every part is there.")
        with transaction.atomic():
            if _move(upload, UploadStatus.OPEN, UploadStatus.VERIFYING):
                wakeup.send(FINISH_TASK)
        upload.refresh_from_db()
    return upload


def finish(upload_id: str | UUID) -> None:
    """Hash what came and put it at its digest, or reject it. Safe to run twice, at once or again.

    A store that cannot be used is no verdict: the upload stays VERIFYING, and the sweep has it tried again.
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
    """Close the uploads whose time is over, and clear what closed ones left under their staging keys."""
    late = ArtifactUpload.objects.filter(status=UploadStatus.OPEN, expires_at__lt=timezone.now())
    closed = sum(_move(upload, UploadStatus.OPEN, UploadStatus.EXPIRED) for upload in late[:100])
    over = (UploadStatus.STORED, UploadStatus.REJECTED, UploadStatus.EXPIRED)
    for upload in ArtifactUpload.objects.filter(status__in=over, cleared=False)[:100]:
        if not clear(upload):
            break
    return closed


def clear(upload: ArtifactUpload) -> bool:
    """Take away what an upload that is over left under its staging key; the sweep does what fails here."""
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


def _verify(direct: DirectUploads, upload: ArtifactUpload) -> Finding | None:
    """What is wrong with the bytes. None: they are at their digest, or somebody else has given the verdict."""
    name, store, renew = str(upload.pk), artifact_store(), turns.renewing_upload(upload.pk)
    staged = direct.read(name, renew) if direct.join(name, upload.storage_id) else None
    if staged is None:
        upload.refresh_from_db()
        gone = Finding("UPLOAD_GONE", "", "the bytes that were sent are no longer in the artifact store")
        return gone if upload.status == UploadStatus.VERIFYING else None
    if staged.size != upload.size:
        return Finding("UPLOAD_SIZE_MISMATCH", "size", f"{staged.size} bytes came, and not {upload.size}")
    if staged.digest != upload.digest:
        return Finding("UPLOAD_DIGEST_MISMATCH", "digest", f"the bytes have the digest {staged.digest}")
    with blob_lock.shared([upload.digest]):
        if not direct.place(name, staged, store.key(upload.digest), lambda: store.verified(upload.digest, renew)):
            raise ArtifactStoreUnavailable("The staged bytes went away while they were put in their place.")
        seen = store.stat(upload.digest)
        if seen is None or seen.size != upload.size:
            raise ArtifactStoreUnavailable("The artifact store took an upload and does not have it.")
        with transaction.atomic():
            blobs.note_sound(upload.digest, size=seen.size, fingerprint=seen.fingerprint)
            _move(upload, UploadStatus.VERIFYING, UploadStatus.STORED)
    return None


def _direct() -> DirectUploads:
    direct = artifact_store().direct
    if direct is None:
        raise DirectUploadsUnavailable(
            "The artifact store of this coordinator takes none; send the files with the release."
        )
    return direct


def _current(tenant: Tenant, digest: str, size: int) -> ArtifactUpload | None:
    rows = ArtifactUpload.objects.filter(tenant=tenant, digest=digest, size=size)
    live = rows.filter(status=UploadStatus.VERIFYING) | rows.filter(
        status=UploadStatus.OPEN, expires_at__gt=timezone.now()
    )
    return live.first() or rows.filter(status=UploadStatus.STORED, digest__in=_sound(digest)).first()


def _sound(digest: str) -> list[str]:
    return list(Blob.objects.filter(digest=digest, state=Blob.State.SOUND).values_list("digest", flat=True))


def _made(tenant: Tenant, digest: str, size: int, actor: str) -> ArtifactUpload:
    rows = ArtifactUpload.objects.filter(tenant=tenant, status=UploadStatus.OPEN)
    for late in rows.filter(expires_at__lte=timezone.now()):
        _move(late, UploadStatus.OPEN, UploadStatus.EXPIRED)
    if rows.count() >= MOST_OPEN:
        raise DirectUploadsFull(f"{MOST_OPEN} uploads are open; finish some of them first.")
    try:
        with transaction.atomic():
            return ArtifactUpload.objects.create(
                tenant=tenant,
                digest=digest,
                size=size,
                part_size=settings.UPLOAD_PART_BYTES,
                status=UploadStatus.OPEN,
                uploaded_by=actor,
                expires_at=timezone.now() + timedelta(hours=settings.UPLOAD_HOURS),
            )
    except IntegrityError:
        # Begun twice at once: it is one upload.
        return ArtifactUpload.objects.get(
            tenant=tenant, digest=digest, size=size, status__in=(UploadStatus.OPEN, UploadStatus.VERIFYING)
        )


def _open(direct: DirectUploads, upload: ArtifactUpload) -> None:
    begun = direct.begin(str(upload.pk))
    unopened = ArtifactUpload.objects.filter(pk=upload.pk, status=UploadStatus.OPEN, storage_id="")
    if not unopened.update(storage_id=begun):
        # Another request opened it first, and may have completed it by now; or the upload has expired.
        direct.abort(str(upload.pk), begun)
    upload.refresh_from_db()


def _sizes(upload: ArtifactUpload) -> Iterator[tuple[int, int]]:
    """The number and size of each part."""
    count = max(1, math.ceil(upload.size / upload.part_size))
    for number in range(1, count + 1):
        yield number, min(upload.part_size, upload.size - (number - 1) * upload.part_size)


def _move(upload: ArtifactUpload, source: UploadStatus, target: UploadStatus, **changes: object) -> bool:
    row = ArtifactUpload.objects.filter(pk=upload.pk)
    return guarded_update.move(row, UPLOAD_MOVES, source, target, status_changed_at=timezone.now(), **changes)
