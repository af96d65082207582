"""The artifact store on Azure Blob Storage. Needs the extra `azure`."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobServiceClient, ContentSettings
from storages.backends.azure_storage import AzureStorage

from releases.artifacts.object_store import ObjectArtifactStore
from releases.artifacts.store import BlobStat, StagedBlob
from releases.errors import ArtifactStoreUnavailable

_EXISTS = ("BlobAlreadyExists",)
_ABSENT = "BlobNotFound"
"""The code if the container exists and the blob does not."""
COPY_SECONDS = 300.0
"""A copy within the server that takes longer than this fails, in seconds."""


class AzureArtifactStore(ObjectArtifactStore, AzureStorage):
    """An artifact store in a container of Azure Blob Storage. Takes the options of django-storages' backend.

    It creates a blob on the condition that none has its name. Each request carries an MD5 of its content, which the
    server verifies.
    """

    client_options: dict[str, Any]
    errors = (AzureError, OSError)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client_options = {
            "connection_timeout": min(5.0, self.timeout_seconds),
            "read_timeout": self.timeout_seconds,
            "retry_total": 2,
            "initial_backoff": 1,
            "increment_base": 2,
            **self.client_options,
        }

    def _get_service_client(self) -> BlobServiceClient:
        """The backend does not apply `client_options` to a connection string."""
        if self.connection_string is not None:
            return BlobServiceClient.from_connection_string(self.connection_string, **self.client_options)
        client: BlobServiceClient = super()._get_service_client()
        return client

    def disconnect(self) -> None:
        self._client = self._service_client = None

    def address(self, digest: str) -> str:
        # A SAS token is in the query.
        url: str = self.client.get_blob_client(self.key(digest)).url
        return url.partition("?")[0]

    def code_of(self, error: BaseException) -> str:
        if not isinstance(error, HttpResponseError) or error.status_code is None:  # without a status, it broke off
            return ""
        code = getattr(error, "error_code", None) or error.status_code
        return str(getattr(code, "value", code))

    def _upload(self, key: str, staged: StagedBlob, *, once: bool) -> bool:
        with staged.open() as body, self.ignoring(*_EXISTS if once else ()):
            self.client.upload_blob(
                key,
                body,
                length=staged.size,
                overwrite=not once,
                validate_content=True,
                max_concurrency=self.upload_max_conn,
                content_settings=ContentSettings(**self._get_content_settings_parameters(key)),
            )
            return True
        return False

    def _head(self, key: str) -> BlobStat | None:
        with self.ignoring(_ABSENT):
            return _blob_stat(self.client.get_blob_client(key).get_blob_properties())
        return None

    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        with self.ignoring(_ABSENT):
            # The later ranges carry the ETag of the first one as a condition.
            content = self.client.download_blob(key)
            return _blob_stat(content.properties), content.chunks()
        return None

    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        with self.ignoring(_ABSENT, "InvalidRange"):
            content: bytes = self.client.download_blob(key, offset=start, length=stop - start).readall()
            return content
        return b""

    def _objects(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        for blob in self.client.list_blobs(name_starts_with=prefix):
            yield blob.name, blob.size, blob.last_modified

    def _delete(self, key: str) -> None:
        with self.ignoring(_ABSENT):
            self.client.delete_blob(key)

    def _copy(self, key: str, target: str) -> bool:
        status, deadline = "", time.monotonic() + COPY_SECONDS
        copy = self.client.get_blob_client(target)
        with self.ignoring(_ABSENT):
            status = copy.start_copy_from_url(self.client.get_blob_client(key).url)["copy_status"]
        if not status:
            return False
        while status == "pending" and time.monotonic() < deadline:
            time.sleep(0.5)
            status = copy.get_blob_properties().copy.status
        if status != "success":
            raise ArtifactStoreUnavailable("The artifact store did not copy an object.")
        return True


def _blob_stat(properties: Any) -> BlobStat:
    return BlobStat(properties.size, f"{properties.size}:{properties.etag}")
