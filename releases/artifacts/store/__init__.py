"""The content-addressed store of executable artifacts (wire protocol A.4).

Bytes are hashed as they stream in and land under their own digest, so a write is idempotent and survives a rollback
of whatever row was to name it.
"""

from django.conf import settings

from releases.artifacts.store.direct import DirectUploads
from releases.artifacts.store.local import LocalArtifactStore
from releases.artifacts.store.s3 import S3ArtifactStore, S3Settings
from releases.artifacts.store.staging import StagedBlob
from releases.artifacts.store.store import ArtifactStore, Seen, Stored
from releases.models import Blob

__all__ = [
    "ArtifactStore",
    "DirectUploads",
    "LocalArtifactStore",
    "S3ArtifactStore",
    "S3Settings",
    "Seen",
    "StagedBlob",
    "Stored",
    "artifact_store",
    "store_named",
]


def artifact_store() -> ArtifactStore:
    """The store that the settings name."""
    return store_named(settings.ARTIFACT_STORE)


def store_named(name: str) -> ArtifactStore:
    """The store `local` or `s3`, as the settings describe it."""
    if name == "s3":
        where = S3Settings(
            bucket=settings.S3_BUCKET,
            prefix=settings.S3_PREFIX,
            endpoint_url=settings.S3_ENDPOINT_URL,
            public_endpoint_url=settings.S3_PUBLIC_ENDPOINT_URL,
            region=settings.S3_REGION,
            access_key_id=settings.S3_ACCESS_KEY_ID,
            secret_access_key=settings.S3_SECRET_ACCESS_KEY,
            ca_file=settings.S3_CA_FILE,
            timeout_seconds=settings.S3_TIMEOUT_SECONDS,
        )
        return S3ArtifactStore(where, settings.ARTIFACT_ROOT)
    return LocalArtifactStore(settings.ARTIFACT_ROOT, may_set_up=_nothing_is_stored)


def _nothing_is_stored() -> bool:
    """Return True while the database records no bytes: a new store cannot have lost any."""
    return not Blob.objects.exclude(state=Blob.State.REMOVED).exists()
