"""Checks that the store has the bytes that a release pins, and that they match their digests.

Scrubbing, uploads and activations record the verdict on each blob in its row (`blobs`). A submission reads the verdicts
of its release in one query and reads no bytes. An activation also reads the bytes that may have changed, and so does a
submission over `/tpf` if they were written again.
"""

import threading
import time
from concurrent.futures import Future

from foundation import wakeup
from foundation.errors import CoordinatorError
from foundation.timed_cache import TimedCache
from releases.artifacts import blobs
from releases.artifacts.store import ArtifactStore, BlobStat, artifact_store
from releases.errors import ArtifactAltered, ArtifactMissing, ArtifactStoreUnavailable, ArtifactUnverified
from releases.models import Blob, Release
from releases.queries import blobs as blobs_of

CHECK_TASK = "releases.check_blob"
cache: TimedCache[str, BlobStat | None] = TimedCache(seconds=30.0, most=10_000)
"""What a remote store has for a digest. The verdict on the bytes is never cached."""
failures: TimedCache[type[ArtifactStore], str] = TimedCache(seconds=10.0, renew_after=0.5)
"""Why a remote store was unavailable. One caller tries again after half of this time."""
STAT_SECONDS = 2.0
"""How long a request waits for what a remote store has for a digest."""
VERDICT_SECONDS = 3.0
"""How long a request tries to judge bytes that another process judges, writes or removes."""
_TURN_SECONDS = 0.05


def require_sound(release: Release) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` if an artifact of `release` is missing or damaged.

    Asks for the last verdict, and then as `require_present` does, but ignores a store that does not respond within
    STAT_SECONDS, because executions do not need it.
    """
    for blob in blobs_of(release):
        require_sound_verdict(blob)
        try:
            require_present(blob)
        except ArtifactStoreUnavailable:
            continue


def require_present(blob: Blob) -> None:
    """Raise an error if the store has no bytes for `blob`, or bytes of another size. Does not read them.

    If their fingerprint has changed since they were hashed, CHECK_TASK is sent. If they were certainly written again,
    `ArtifactUnverified` is raised until they are hashed. Also raises `ArtifactMissing`, `ArtifactAltered` and
    `ArtifactStoreUnavailable`.
    """
    store = artifact_store()
    stat = _stat_of(store, blob)
    if stat is None or stat.size != blob.size:
        wakeup.send(CHECK_TASK, blob.digest)
        raise _altered(blob.digest) if stat else _missing(blob.digest)
    if stat.fingerprint != blob.fingerprint:
        wakeup.send(CHECK_TASK, blob.digest)
        if store.is_rewritten(blob.fingerprint, stat.fingerprint):
            raise ArtifactUnverified(
                f"The bytes of {blob.digest} were written again since they were hashed. Try again."
            )


def require_verified(release: Release) -> None:
    """Like `require_sound`, but hash bytes again that may have changed since they were hashed, and record the verdict.

    Also raises `ArtifactStoreUnavailable` if the store does not respond.
    """
    store = artifact_store()
    for blob in blobs_of(release):
        stat = _look(store, blob.digest)
        if stat is not None and blob.state == Blob.State.SOUND and stat.fingerprint == blob.fingerprint:
            continue
        deadline = time.monotonic() + VERDICT_SECONDS
        # Requests that judge the same bytes at once do so one after the other.
        while (state := blobs.judge(blob.digest)) is None and time.monotonic() < deadline:
            time.sleep(_TURN_SECONDS)
        if state is None:
            raise ArtifactStoreUnavailable(f"The bytes of {blob.digest} are being written or removed. Try again.")
        _raise_unless_sound(blob.digest, state)


def require_sound_verdict(blob: Blob) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` if the last verdict on `blob` is not SOUND."""
    _raise_unless_sound(blob.digest, Blob.State(blob.state))


def _raise_unless_sound(digest: str, state: Blob.State) -> None:
    if state != Blob.State.SOUND:
        raise _altered(digest) if state == Blob.State.DAMAGED else _missing(digest)


def _stat_of(store: ArtifactStore, blob: Blob) -> BlobStat | None:
    """Return what the store has for `blob`. For a remote store, use the cached result if it is the expected one.

    Failures of a remote store are cached too.
    """
    if not store.is_remote:
        return store.stat(blob.digest)
    stat = cache.get(blob.digest)
    if stat is None or stat.size != blob.size or store.is_rewritten(blob.fingerprint, stat.fingerprint):
        failure = failures.get_or_renew(type(store))
        if failure is not None:
            raise ArtifactStoreUnavailable(failure)
        since = time.monotonic()
        try:
            stat = _look(store, blob.digest)
        except ArtifactStoreUnavailable as error:
            failures.set(type(store), error.detail)
            raise
        failures.discard(type(store))
        cache.set(blob.digest, stat, since=since)
    return stat


def _look(store: ArtifactStore, digest: str) -> BlobStat | None:
    """Return what the store has for a digest. Raises `ArtifactStoreUnavailable`, for a remote store in STAT_SECONDS.

    A thread waits for a silent server until the store's own time is over.
    """
    if not store.is_remote:
        return store.stat(digest)
    found: Future[BlobStat | None] = Future()

    def look() -> None:
        try:
            found.set_result(store.stat(digest))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(name="artifact-stat", target=look, daemon=True).start()
    try:
        return found.result(STAT_SECONDS)
    except TimeoutError:
        raise ArtifactStoreUnavailable(f"The artifact store does not answer within {STAT_SECONDS} seconds.") from None


def _missing(digest: str) -> CoordinatorError:
    return ArtifactMissing(f"The bytes of {digest} are not in the artifact store.", digest=digest)


def _altered(digest: str) -> CoordinatorError:
    return ArtifactAltered(f"The bytes stored for {digest} have a different digest.", digest=digest)
