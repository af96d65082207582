"""Moves all blobs from one artifact store to another, one by one; what is there already is not copied again."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from releases.artifacts import blob_lock
from releases.artifacts.store import ArtifactStore, StoredBlob
from releases.artifacts.store.base import CHUNK


class Outcome(StrEnum):
    COPIED = "copied"
    THERE = "was there already"
    DAMAGED = "is damaged here and was not copied"
    GONE = "was removed meanwhile"


@dataclass(frozen=True, slots=True)
class Moved:
    digest: str
    size: int
    outcome: Outcome


def relocate(source: ArtifactStore, target: ArtifactStore, *, remove: bool = False) -> Iterator[Moved]:
    """Copy each blob of `source` to `target` and give what became of it; with `remove`, take it away here after that.

    Bytes are hashed on the way and again by a target that verifies checksums. May be stopped at any time and begun
    again. A blob counts as there by its size; with `remove` it is read and hashed at the target first. Raises
    `ArtifactStoreUnavailable`, after which what was copied stays copied.
    """
    target.set_up()
    for stored in source.list():
        moved = _copy(source, target, stored)
        if remove and moved.outcome in {Outcome.COPIED, Outcome.THERE}:
            moved = _take_away(source, target, stored, moved)
        yield moved


def _copy(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob) -> Moved:
    there = target.stat(stored.digest)
    if there is not None and there.size == stored.size:
        return Moved(stored.digest, stored.size, Outcome.THERE)
    file = source.read(stored.digest)
    if file is None:
        return Moved(stored.digest, stored.size, Outcome.GONE)
    staged = target.stage(limit=stored.size + 1)
    try:
        with file, blob_lock.shared([stored.digest]):
            while chunk := file.read(CHUNK):
                staged.write(chunk)
            if staged.digest != stored.digest:
                return Moved(stored.digest, stored.size, Outcome.DAMAGED)
            staged.keep()
    finally:
        staged.discard()
    return Moved(stored.digest, stored.size, Outcome.COPIED)


def _take_away(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob, moved: Moved) -> Moved:
    if target.verified(stored.digest) is None:
        again = _copy_over(source, target, stored)
        if again.outcome is not Outcome.COPIED:
            return again
        moved = again
    source.remove(stored.digest)
    return moved


def _copy_over(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob) -> Moved:
    """Replace what the target has wrong bytes of."""
    target.quarantine(stored.digest)
    return _copy(source, target, stored)
