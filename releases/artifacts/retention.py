"""Removes bytes that nothing needs: bytes to which no release refers, or only rejected and retired releases.

Young bytes are kept, because they may belong to an upload that is still running. Older bytes are removed under the
exclusive lease of their digest, after a second check that nothing refers to them. A registration holds a shared lease,
so it never refers to bytes that are being removed.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from stat import S_ISREG
from typing import Any

from django.db.models import Max, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import ArtifactStore, StoredBlob, artifact_store, disk
from releases.models import Artifact, ArtifactUpload, Blob
from releases.states import Status, UploadStatus

log = logging.getLogger(__name__)
BATCH = 500


class Why(StrEnum):
    """Why bytes are not needed."""

    REJECTED = "only rejected releases refer to it"
    RETIRED = "only retired or rejected releases refer to it"
    STRAY = "no release refers to it"
    STAGED = "left by an unfinished upload"


@dataclass(frozen=True, slots=True)
class Orphan:
    """Bytes that nothing needs: a blob, whose `name` is its digest, or a staged file of this machine with a `path`.

    `size` is in bytes. `since` is the time since which the bytes have not been needed.
    """

    name: str
    size: int
    since: datetime
    why: Why
    path: Path | None = None


def orphans(age: timedelta, *, batch: int = BATCH) -> Iterator[Orphan]:
    """Yield the bytes that have not been needed for `age`, which `remove` would remove.

    Includes the staging folder of this machine, not those of others. Raises `ArtifactStoreUnavailable`.
    """
    store, before = artifact_store(), timezone.now() - age
    listed: list[StoredBlob] = []
    for stored in store.list():
        if stored.modified_at < before:
            listed.append(stored)
        if len(listed) == batch:
            yield from _unneeded(listed, before)
            listed = []
    yield from _unneeded(listed, before)
    yield from left_over(store.staging, before)


def remove(orphans: Iterable[Orphan], age: timedelta) -> Iterator[Orphan]:
    """Remove the orphans `found` that are still not needed and not in use. Yield those that were removed."""
    store = artifact_store()
    for orphan in orphans:
        if orphan.path is not None:
            orphan.path.unlink(missing_ok=True)
        elif not _remove(store, orphan, age):
            continue
        log.info("removed %s (%s bytes): %s", orphan.name, orphan.size, orphan.why.value)
        yield orphan


def _unneeded(listed: list[StoredBlob], before: datetime) -> Iterator[Orphan]:
    digests = [stored.digest for stored in listed]
    referring = Artifact.objects.filter(blob__in=digests)
    over = Q(release__status__in=[Status.REJECTED, Status.RETIRED])
    needed = set(referring.filter(~over).values_list("digest", flat=True))
    retired = set(referring.filter(release__status=Status.RETIRED).values_list("digest", flat=True))
    known: dict[str, Any] = {
        row["digest"]: row
        for row in Blob.objects.filter(digest__in=digests)
        .annotate(referred=Max("artifacts__release__status_changed_at"))
        .annotate(since=Greatest("created_at", "referred"))
        .values("digest", "since", "referred")
    }
    uploads = ArtifactUpload.objects.filter(digest__in=digests, status=UploadStatus.STORED)
    uploaded_at = dict(uploads.values_list("digest").annotate(Max("status_changed_at")))
    for stored in listed:
        row = known.get(stored.digest, {})
        since = max(filter(None, (stored.modified_at, row.get("since"), uploaded_at.get(stored.digest))))
        if stored.digest not in needed and since < before:
            referred = Why.RETIRED if stored.digest in retired else Why.REJECTED
            why = referred if row.get("referred") else Why.STRAY
            yield Orphan(stored.digest, stored.size, since, why)


def _remove(store: ArtifactStore, orphan: Orphan, age: timedelta) -> bool:
    with blob_lock.removal() as allowed, blob_lock.exclusive(orphan.name) as lease:
        if lease is None or not allowed:  # a registration may be about to refer to the bytes, or a backup copies them
            return False
        stat = store.stat(orphan.name)
        if stat is None or not any(_unneeded([StoredBlob(orphan.name, stat.size, orphan.since)], timezone.now() - age)):
            return False
        if not lease.renew():  # a suspended process must not remove bytes that have been registered since
            return False
        store.remove(orphan.name)
        with lease.transaction():
            blobs.record_removed(orphan.name, size=stat.size, why=orphan.why.value)
    return True


def left_over(folder: Path, before: datetime) -> Iterator[Orphan]:
    """Yield the staged files that were last written before `before`: their process has died."""
    with disk():
        paths = sorted(folder.iterdir()) if folder.exists() else []
    for path in paths:
        with disk(), suppress(FileNotFoundError):  # kept or discarded meanwhile
            stat = path.stat()
            modified_at = datetime.fromtimestamp(stat.st_mtime, UTC)
            if S_ISREG(stat.st_mode) and modified_at < before:
                yield Orphan(str(path), stat.st_size, modified_at, Why.STAGED, path)
