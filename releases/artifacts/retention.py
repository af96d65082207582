"""Removes bytes that nothing needs: what no release refers to, or only uploads that were rejected.

Whatever is young enough to belong to an upload in flight is spared, and what is older is removed only under the
digest's lock, after another look at who refers to it: a registration that holds the lock is never raced.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from django.db.models import Max, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import ArtifactStore, StoredBlob, artifact_store
from releases.artifacts.store.staging import left_over
from releases.models import Artifact, ArtifactUpload, Blob
from releases.states import Status, UploadStatus

log = logging.getLogger(__name__)
_BATCH = 500


class Why(StrEnum):
    """Why bytes are not needed."""

    REJECTED = "only rejected uploads refer to it"
    STRAY = "no release refers to it"
    STAGED = "an upload that was never finished left it"


@dataclass(frozen=True, slots=True)
class Orphan:
    """Bytes that nothing needs: a digest in the store, or a file in this machine's staging folder."""

    name: str
    size: int
    since: datetime
    why: Why
    path: Path | None = None


def orphans(age: timedelta) -> Iterator[Orphan]:
    """What `remove` would take away now. Only what has been of no use for `age` is named.

    The staging folder is that of this machine alone. Raises `ArtifactStoreUnavailable`.
    """
    store, before = artifact_store(), timezone.now() - age
    listed: list[StoredBlob] = []
    for stored in store.list():
        if stored.modified_at < before:
            listed.append(stored)
        if len(listed) == _BATCH:
            yield from _unneeded(listed, before)
            listed = []
    yield from _unneeded(listed, before)
    for left in left_over(store.staging, before):
        yield Orphan(str(left.path), left.size, left.modified_at, Why.STAGED, left.path)


def remove(found: Iterable[Orphan], age: timedelta) -> Iterator[Orphan]:
    """Remove orphans, each unless it is needed or in use by now, and give those that were removed."""
    store = artifact_store()
    for orphan in found:
        if orphan.path is not None:
            orphan.path.unlink(missing_ok=True)
        elif not _remove(store, orphan, age):
            continue
        log.info("removed %s (%s bytes): %s", orphan.name, orphan.size, orphan.why.value)
        yield orphan


def _unneeded(listed: list[StoredBlob], before: datetime) -> Iterator[Orphan]:
    digests = [stored.digest for stored in listed]
    needing = Artifact.objects.filter(~Q(release__status=Status.REJECTED), blob__in=digests)
    needed = set(needing.values_list("digest", flat=True))
    known: dict[str, Any] = {
        row["digest"]: row
        for row in Blob.objects.filter(digest__in=digests)
        .annotate(told=Max("artifacts__release__status_changed_at"))
        .annotate(since=Greatest("created_at", "told"))
        .values("digest", "since", "told")
    }
    sent = ArtifactUpload.objects.filter(digest__in=digests, status=UploadStatus.STORED)
    proved = dict(sent.values_list("digest").annotate(Max("status_changed_at")))
    for stored in listed:
        row = known.get(stored.digest, {})
        since = max(filter(None, (stored.modified_at, row.get("since"), proved.get(stored.digest))))
        if stored.digest not in needed and since < before:
            why = Why.REJECTED if row.get("told") else Why.STRAY
            yield Orphan(stored.digest, stored.size, since, why)


def _remove(store: ArtifactStore, orphan: Orphan, age: timedelta) -> bool:
    with blob_lock.alone(orphan.name) as held:
        if not held:  # somebody is about to refer to it
            return False
        seen = store.stat(orphan.name)
        if seen is None or not any(_unneeded([StoredBlob(orphan.name, seen.size, orphan.since)], timezone.now() - age)):
            return False
        store.remove(orphan.name)
        blobs.note_removed(orphan.name, size=seen.size, why=orphan.why.value)
    return True
