"""Hashes stored bytes, checks them again under the digest's lock, and records the verdict."""

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import ArtifactStore, BlobStat, artifact_store
from releases.models import Blob

State = Blob.State


def judge(digest: str) -> Blob.State | None:
    """Hash the bytes at `digest`, record the verdict and return it. Damaged bytes are put into quarantine.

    SOUND is recorded under a lock that prevents removal of the bytes, every other verdict under one that also prevents
    uploads. Returns None, without a verdict, if an upload or a removal holds the lock. Raises
    `ArtifactStoreUnavailable`.
    """
    store = artifact_store()
    verified = store.verified(digest)
    if verified is not None:
        with blob_lock.shared([digest]):
            if store.stat(digest) == verified:
                return _sound(digest, verified)
    with blob_lock.exclusive(digest) as held:
        if not held:
            return None
        verified = store.verified(digest)
        return _unsound(store, digest) if verified is None else _sound(digest, verified)


def _sound(digest: str, verified: BlobStat) -> Blob.State:
    blobs.record_sound(digest, size=verified.size, fingerprint=verified.fingerprint)
    return State.SOUND


def _unsound(store: ArtifactStore, digest: str) -> Blob.State:
    place = store.quarantine(digest)
    if place is None:
        return blobs.record_unsound(digest, State.MISSING)
    return blobs.record_unsound(digest, State.DAMAGED, quarantined=place)
