"""Whether the bytes that a release pins are still in the store, and still what was verified."""

from django.utils import timezone

from releases.artifact_store import LocalArtifactStore, artifact_store
from releases.errors import ArtifactAltered, ArtifactMissing
from releases.models import Blob, Release
from releases.registry import blobs


def require_sound(release: Release) -> None:
    """Raise `ArtifactMissing` or `ArtifactAltered` unless every stored artifact is what was verified.

    Cheap: bytes are hashed again only where their fingerprint in the store has changed since they last were.
    """
    store = artifact_store()
    for blob in blobs(release):
        _require_sound(store, blob)


def _require_sound(store: LocalArtifactStore, blob: Blob) -> None:
    fingerprint = store.fingerprint(blob.digest)
    if fingerprint is None:
        raise ArtifactMissing(f"The bytes of {blob.digest} are not in the artifact store.", digest=blob.digest)
    if blob.state == Blob.State.SOUND and fingerprint == blob.fingerprint:
        return
    verified = store.verified_fingerprint(blob.digest)
    if verified is None:
        note_state(blob.digest, Blob.State.DAMAGED, fingerprint)
        raise ArtifactAltered(f"The bytes stored for {blob.digest} have another digest.", digest=blob.digest)
    note_state(blob.digest, Blob.State.SOUND, verified)


def note_state(digest: str, state: Blob.State, fingerprint: str) -> None:
    """Keep what was just found out about a blob."""
    Blob.objects.filter(digest=digest).update(state=state, fingerprint=fingerprint, checked_at=timezone.now())
