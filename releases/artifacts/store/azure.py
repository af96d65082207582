"""The artifact store on Azure Blob Storage. Needs the extra `azure`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, BinaryIO

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContentSettings
from storages.backends.azure_storage import AzureStorage

from releases.artifacts.store.base import BlobStat
from releases.artifacts.store.objects import ObjectArtifactStore, StoredObject
from releases.artifacts.store.staging import StagedBlob
from releases.errors import ArtifactStoreUnavailable

COPY_SECONDS = 300.0
"""A copy within the server that takes longer than this fails, in seconds."""


class AzureArtifactStore(ObjectArtifactStore, AzureStorage):
    """An artifact store in a container of Azure Blob Storage. Takes the options of django-storages' backend.

    It creates a blob on the condition that none has its name. Each request carries an MD5 of its content, which the
    server verifies.
    """

    client_options: dict[str, Any]

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

    @contextmanager
    def requests(self) -> Iterator[None]:
        try:
            yield
        except HttpResponseError as error:
            if error.status_code is None:  # the response broke off
                raise _unanswered(error) from error
            raise ArtifactStoreUnavailable(f"The artifact store refused: {_error_code(error)}.") from error
        except (AzureError, OSError) as error:
            raise _unanswered(error) from error

    def _upload(self, key: str, body: BinaryIO, staged: StagedBlob, *, once: bool) -> bool:
        try:
            self.client.upload_blob(
                key,
                body,
                length=staged.size,
                overwrite=not once,
                validate_content=True,
                max_concurrency=self.upload_max_conn,
                content_settings=ContentSettings(**self._get_content_settings_parameters(key)),
            )
        except ResourceExistsError:
            if once:
                return False
            raise
        return True

    def _head(self, key: str) -> BlobStat | None:
        try:
            return _blob_stat(self.client.get_blob_client(key).get_blob_properties())
        except ResourceNotFoundError as error:
            _require_container(error)
            return None

    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        try:
            # The later ranges carry the ETag of the first one as a condition.
            content = self.client.download_blob(key)
        except ResourceNotFoundError as error:
            _require_container(error)
            return None
        return _blob_stat(content.properties), content.chunks()

    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        try:
            found: bytes = self.client.download_blob(key, offset=start, length=stop - start).readall()
        except ResourceNotFoundError as error:
            _require_container(error)
            return b""
        except HttpResponseError as error:
            if error.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            return b""
        return found

    def _objects(self, prefix: str) -> Iterator[StoredObject]:
        for blob in self.client.list_blobs(name_starts_with=prefix):
            yield StoredObject(blob.name, blob.size, blob.last_modified)

    def _delete(self, key: str) -> None:
        try:
            self.client.delete_blob(key)
        except ResourceNotFoundError as error:
            _require_container(error)

    def _copy(self, key: str, target: str) -> bool:
        copy, deadline = self.client.get_blob_client(target), time.monotonic() + COPY_SECONDS
        try:
            status = copy.start_copy_from_url(self.client.get_blob_client(key).url)["copy_status"]
        except ResourceNotFoundError as error:
            _require_container(error)
            return False
        while status == "pending" and time.monotonic() < deadline:
            time.sleep(0.5)
            status = copy.get_blob_properties().copy.status
        if status != "success":
            raise ArtifactStoreUnavailable("The artifact store did not copy an object.")
        return True


def _require_container(error: ResourceNotFoundError) -> None:
    """Raise `error` unless it says that the container exists and the blob does not."""
    if _error_code(error) != "BlobNotFound":
        raise error


def _unanswered(error: Exception) -> ArtifactStoreUnavailable:
    return ArtifactStoreUnavailable(f"The artifact store does not answer: {type(error).__name__}.")


def _error_code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or error.status_code or "unknown"
    return str(getattr(code, "value", code))


def _blob_stat(properties: Any) -> BlobStat:
    return BlobStat(properties.size, f"{properties.size}:{properties.etag}")
