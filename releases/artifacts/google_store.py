"""The artifact store on Google Cloud Storage. Needs the extra `gcs`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from storages.backends.gcloud import GoogleCloudStorage

from releases.artifacts.object_store import ObjectArtifactStore
from releases.artifacts.store import CHUNK, BlobStat, StagedBlob

_RANGE = 8 * CHUNK
"""Objects are fetched in ranges of this size, in bytes. Each range is retried alone."""


class GoogleArtifactStore(ObjectArtifactStore, GoogleCloudStorage):
    """An artifact store in a bucket of Google Cloud Storage. Takes the options of django-storages' backend.

    It creates an object on the condition that its generation is 0, which only an object that does not exist has. The
    server verifies a CRC32C of the content.
    """

    _client: Client | None
    checksum_errors = (DataCorruption,)
    errors = (GoogleAPIError, GoogleAuthError, DataCorruption, OSError)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        connect = min(5.0, self.timeout_seconds)
        self._limits: dict[str, Any] = {
            "timeout": (connect, self.timeout_seconds),
            "retry": DEFAULT_RETRY.with_timeout(self.timeout_seconds),
        }

    def get_default_settings(self) -> dict[str, Any]:
        """Return the options with their defaults. `api_endpoint` is the URL of another server that has Google's API."""
        return super().get_default_settings() | {"api_endpoint": ""}

    @property
    def client(self) -> Client:
        """The client of this process. The backend's own always connects to Google."""
        if self._client is None and self.api_endpoint:
            options = {"api_endpoint": self.api_endpoint}
            self._client = Client(project=self.project_id, credentials=self.credentials, client_options=options)
        return super().client

    def disconnect(self) -> None:
        self._client = self._bucket = None

    def address(self, digest: str) -> str:
        return f"gs://{self.bucket_name}/{self.key(digest)}"

    def code_of(self, error: BaseException) -> str:
        return type(error).__name__ if isinstance(error, GoogleAPICallError) else ""

    def _upload(self, key: str, staged: StagedBlob, *, once: bool) -> bool:
        blob = self.bucket.blob(key)
        parameters = self.get_object_parameters(key)
        acl = parameters.pop("acl", self.default_acl)
        content_type = parameters.pop("content_type", "application/octet-stream")
        for name, value in parameters.items():
            setattr(blob, name, value)
        with staged.open() as body, self.ignoring("PreconditionFailed"):
            blob.upload_from_file(
                body,
                size=staged.size,
                content_type=content_type,
                predefined_acl=acl,
                checksum="crc32c",
                if_generation_match=0 if once else None,
                **self._limits,
            )
            return True
        return False

    def _head(self, key: str) -> BlobStat | None:
        blob = self._blob(key)
        return None if blob is None else _blob_stat(blob)

    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        blob = self._blob(key)
        if blob is None:
            return None
        # All ranges are of one generation.
        content = self.bucket.blob(key, generation=blob.generation).open("rb", chunk_size=_RANGE, **self._limits)
        return _blob_stat(blob), iter(lambda: content.read(CHUNK), b"")

    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        with self.ignoring("NotFound", "RequestRangeNotSatisfiable"):
            # A range has no checksum.
            content: bytes = self.bucket.blob(key).download_as_bytes(
                start=start, end=stop - 1, checksum=None, **self._limits
            )
            return content
        self._require_bucket()
        return b""

    def _objects(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        for blob in self.bucket.list_blobs(prefix=prefix, **self._limits):
            yield blob.name, blob.size, blob.updated

    def _delete(self, key: str) -> None:
        with self.ignoring("NotFound"):
            self.bucket.delete_blob(key, **self._limits)
            return
        self._require_bucket()

    def _copy(self, key: str, target: str) -> bool:
        source = self._blob(key)
        if source is None:
            return False
        token, copy = None, self.bucket.blob(target)
        while True:
            token, _, _ = copy.rewrite(source, token=token, **self._limits)
            if token is None:
                return True

    def _blob(self, key: str) -> Blob | None:
        blob = self.bucket.get_blob(key, **self._limits)
        if blob is None:
            self._require_bucket()
        return blob

    def _require_bucket(self) -> None:
        """Raise `NotFound` if the bucket does not exist, in which every object looks missing.

        Needs no permission that listing blobs does not need.
        """
        for _ in self.bucket.list_blobs(prefix=self.name_of("sha256", ""), max_results=1, **self._limits):
            pass


def _blob_stat(blob: Blob) -> BlobStat:
    return BlobStat(blob.size, f"{blob.size}:{blob.generation}")
