"""Copies all blobs from one artifact store to another. Blobs that the target already has are not copied again."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from releases.artifacts import blob_lock
from releases.artifacts.store import ArtifactStore, StoredBlob
from releases.artifacts.store.base import CHUNK, misread


class Result(StrEnum):
    COPIED = "copied"
    PRESENT = "already in the target"
    DAMAGED = "damaged in the source, not copied"
    GONE = "removed from the source during the copy"


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of copying one blob. `size` is in bytes."""

    digest: str
    size: int
    result: Result


def relocate(source: ArtifactStore, target: ArtifactStore, *, remove: bool = False) -> Iterator[Moved]:
    """Copy each blob of `source` to `target` and yield the result. With `remove`, then remove it from `source`.

    The bytes are hashed while they are copied, and again by a target that verifies checksums. If the target has a blob
    of the same size, the blob is not copied. With `remove`, the target's bytes are read and hashed before the blob is
    removed, and replaced if they are wrong. The copy may be interrupted and repeated at any time. Raises
    `ArtifactStoreUnavailable`; the blobs copied so far remain.
    """
    target.set_up()
    for stored in source.list():
        moved = _copy(source, target, stored)
        if remove and moved.result in {Result.COPIED, Result.PRESENT}:
            moved = _remove(source, target, stored, moved)
        yield moved


def _copy(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob) -> Moved:
    present = target.stat(stored.digest)
    if present is not None and present.size == stored.size:
        return Moved(stored.digest, stored.size, Result.PRESENT)
    file = source.read(stored.digest)
    if file is None:
        return Moved(stored.digest, stored.size, Result.GONE)
    staged = target.stage(limit=stored.size + 1)
    try:
        with file, blob_lock.shared([stored.digest]):
            while chunk := file.read(CHUNK):
                staged.write(chunk)
            if staged.digest != stored.digest:
                if source.verified(stored.digest) is not None:
                    raise misread(stored.digest)
                return Moved(stored.digest, stored.size, Result.DAMAGED)
            staged.keep()
    finally:
        staged.discard()
    return Moved(stored.digest, stored.size, Result.COPIED)


def _remove(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob, moved: Moved) -> Moved:
    if target.verified(stored.digest) is None:
        target.quarantine(stored.digest)
        moved = _copy(source, target, stored)
        if moved.result is not Result.COPIED:
            return moved
    source.remove(stored.digest)
    return moved
