"""The content-addressed store of executable artifacts (wire protocol A.4), a Django storage.

Bytes are hashed while they are received and stored under their digest. Writes are therefore idempotent, and the
rollback of the row that names a blob does not harm it. This package offers the interface; `STORAGES["artifacts"]` names
the module that implements it, which is imported with the first use.
"""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import Storage, storages

from releases.artifacts.store.base import ArtifactStore, BlobStat, StoredBlob
from releases.artifacts.store.staging import StagedBlob

__all__ = [
    "ArtifactStore",
    "BlobStat",
    "StagedBlob",
    "StoredBlob",
    "artifact_store",
    "configured_store",
]


def artifact_store() -> ArtifactStore:
    """Return the store that `STORAGES["artifacts"]` configures, the same one each time."""
    return _artifact_store(storages["artifacts"])


def configured_store(name: str) -> ArtifactStore:
    """Return a new store of `ARTIFACT_STORES`, by its name there, such as `local`."""
    return _artifact_store(storages.create_storage(settings.ARTIFACT_STORES[name]))


def _artifact_store(storage: Storage) -> ArtifactStore:
    if not isinstance(storage, ArtifactStore):
        raise ImproperlyConfigured(f"{type(storage).__name__} is not an artifact store.")
    return storage
