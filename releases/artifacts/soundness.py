"""Whether the bytes that a release pins are in the store, and are what was verified.

The last verdict is a column that scrubbing, uploads and activations keep (`blobs`). A submission reads the
verdicts of its release in one query and never reads bytes; an activation reads those that may have changed.
"""

import time

from foundation.errors import CoordinatorError
from foundation.timed_cache import TimedCache
from foundation.wakeups import wakeup
from releases.artifacts import verdicts
from releases.artifacts.store import ArtifactStore, BlobStat, artifact_store
from releases.errors import ArtifactAltered, ArtifactMissing, ArtifactStoreUnavailable
from releases.models import Blob, Release
from releases.queries import blobs as blobs_of

CHECK_TASK = "releases.check_blob"
cache: TimedCache[str, BlobStat | None] = TimedCache(seconds=30.0, most=10_000)
"""What a remote store has for a digest. The verdict on the bytes is never cached."""


def require_sound(release: Release) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` where any stored artifact is known, or seen, not to be right.

    Cheap: the last verdict, then presence and size. Bytes that were touched since they were hashed are checked soon
    after, not here. A store that does not answer changes nothing: what runs does not need it.
    """
    store = artifact_store()
    for blob in blobs_of(release):
        refuse_unsound(blob)
        try:
            seen = _look(store, blob)
        except ArtifactStoreUnavailable:
            continue
        if seen is None or seen.size != blob.size:
            wakeup.send(CHECK_TASK, blob.digest)
            raise _altered(blob.digest) if seen else _missing(blob.digest)
        if seen.fingerprint != blob.fingerprint:
            wakeup.send(CHECK_TASK, blob.digest)


def require_verified(release: Release) -> None:
    """As `require_sound`, but bytes that may have changed since they were hashed are hashed again, and noted.

    Raises `ArtifactStoreUnavailable` too: what cannot be looked at is not verified.
    """
    store = artifact_store()
    for blob in blobs_of(release):
        _require_verified(store, blob)


def refuse_unsound(blob: Blob) -> None:
    """Raise by the last verdict alone."""
    _refuse(blob.digest, Blob.State(blob.state))


def _require_verified(store: ArtifactStore, blob: Blob) -> None:
    seen = store.stat(blob.digest)
    if seen is not None and blob.state == Blob.State.SOUND and seen.fingerprint == blob.fingerprint:
        return
    state = verdicts.judge(blob.digest)
    if state is None:
        raise ArtifactStoreUnavailable(f"The bytes of {blob.digest} are just being written or removed; try again.")
    _refuse(blob.digest, state)


def _refuse(digest: str, state: Blob.State) -> None:
    if state != Blob.State.SOUND:
        raise _altered(digest) if state == Blob.State.DAMAGED else _missing(digest)


def _look(store: ArtifactStore, blob: Blob) -> BlobStat | None:
    """Return what is stored. For a remote store, the result is cached if the blob exists and has the right size."""
    if not store.is_remote:
        return store.stat(blob.digest)
    seen = cache.get(blob.digest)
    if seen is None or seen.size != blob.size:
        since = time.monotonic()
        seen = store.stat(blob.digest)
        cache.set(blob.digest, seen, since=since)
    return seen


def _missing(digest: str) -> CoordinatorError:
    return ArtifactMissing(f"The bytes of {digest} are not in the artifact store.", digest=digest)


def _altered(digest: str) -> CoordinatorError:
    return ArtifactAltered(f"The bytes stored for {digest} have another digest.", digest=digest)
