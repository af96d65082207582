"""Hashes stored bytes, checks them again under a lease on the digest, and records the verdict."""

from releases.artifacts import blob_lock, blobs
from releases.artifacts.store import ArtifactStore, BlobStat, artifact_store
from releases.errors import ArtifactStoreUnavailable
from releases.models import Blob

State = Blob.State


def judge(digest: str) -> Blob.State | None:
    """Hash the bytes at `digest`, record the verdict and return it. Damaged bytes are put into quarantine.

    SOUND is recorded under a lease that prevents removal of the bytes, every other verdict under one that also prevents
    uploads. Returns None, without a verdict, if an upload or a removal holds a lease. Raises
    `ArtifactStoreUnavailable`, also if the lease is lost.
    """
    store = artifact_store()
    verified = store.verified(digest)
    if verified is not None:
        with blob_lock.shared([digest]) as lease:
            if store.stat(digest) == verified:
                return _sound(lease, digest, verified)
    with blob_lock.exclusive(digest) as lease_alone:
        if lease_alone is None:
            return None
        verified = store.verified(digest)
        return _unsound(lease_alone, store, digest) if verified is None else _sound(lease_alone, digest, verified)


def _sound(lease: blob_lock.Lease, digest: str, verified: BlobStat) -> Blob.State:
    with lease.transaction():
        blobs.record_sound(digest, size=verified.size, fingerprint=verified.fingerprint)
    return State.SOUND


def _unsound(lease: blob_lock.Lease, store: ArtifactStore, digest: str) -> Blob.State:
    if not lease.renew():
        raise ArtifactStoreUnavailable(f"The check of {digest} took too long.")
    place = store.quarantine(digest)
    with lease.transaction():
        if place is None:
            return blobs.record_unsound(digest, State.MISSING)
        return blobs.record_unsound(digest, State.DAMAGED, quarantined=place)
