"""The verdict on stored bytes: read, looked at a second time under the digest's lock, and noted."""

from releases import blob_lock, blobs
from releases.artifact_store import ArtifactStore, Seen, artifact_store
from releases.models import Blob

State = Blob.State


def judge(digest: str) -> Blob.State | None:
    """Hash the bytes at `digest`, note the verdict and return it. Damaged bytes are put into quarantine.

    SOUND is noted while nobody can remove the bytes, every other verdict while nobody can bring them. None is no
    verdict: an upload or a removal has them in hand. Raises `ArtifactStoreUnavailable`.
    """
    store = artifact_store()
    seen = store.verified(digest)
    if seen is not None:
        with blob_lock.shared([digest]):
            if store.look(digest) == seen:
                return _sound(digest, seen)
    with blob_lock.alone(digest) as held:
        if not held:
            return None
        seen = store.verified(digest)
        return _unsound(store, digest) if seen is None else _sound(digest, seen)


def _sound(digest: str, seen: Seen) -> Blob.State:
    blobs.note_sound(digest, size=seen.size, fingerprint=seen.fingerprint)
    return State.SOUND


def _unsound(store: ArtifactStore, digest: str) -> Blob.State:
    place = store.quarantine(digest)
    if place is None:
        return blobs.note_unsound(digest, State.MISSING)
    return blobs.note_unsound(digest, State.DAMAGED, quarantined=place)
