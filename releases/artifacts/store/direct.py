"""Direct uploads to S3: multipart uploads by presigned requests.

A presigned request accepts one part of one upload, of exactly its size, for a short time.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from releases.artifacts.store.base import CHUNK, BlobStat, DirectUploads, StagedObject
from releases.errors import ArtifactStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

URL_SECONDS = 900
"""A client must begin a presigned request within this time, in seconds."""
_ABSENT = frozenset({"NoSuchUpload", "NoSuchKey", "404", "NotFound"})
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class Bucket(Protocol):
    """What direct uploads need of a store."""

    bucket_name: str

    @property
    def client(self) -> "S3Client":
        """The client that sends requests."""

    @property
    def public_client(self) -> "S3Client":
        """The client that presigns requests."""

    @property
    def public_origins(self) -> list[str]:
        """The origins of presigned requests."""

    def name_of(self, *parts: str) -> str:
        """Return the name of an object below the store's location."""

    def write_parameters(self, key: str) -> dict[str, Any]:
        """Return the configured parameters of a new object."""

    def requests(self) -> AbstractContextManager[None]:
        """Return a context in which errors of the client library become `ArtifactStoreUnavailable`."""


class S3DirectUploads(DirectUploads):
    """The direct uploads of one S3 store, each an object `<location>/staging/<name>`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def origins(self) -> list[str]:
        with self._bucket.requests():
            return self._bucket.public_origins

    def begin(self, name: str) -> str:
        key = self._key(name)
        with self._bucket.requests():
            response = self._bucket.client.create_multipart_upload(
                Bucket=self._bucket.bucket_name, Key=key, **self._bucket.write_parameters(key)
            )
            return response["UploadId"]

    def url(self, name: str, storage_id: str, number: int, size: int) -> str:
        where = {"Bucket": self._bucket.bucket_name, "Key": self._key(name), "UploadId": storage_id}
        with self._bucket.requests():
            return self._bucket.public_client.generate_presigned_url(
                "upload_part", Params={**where, "PartNumber": number, "ContentLength": size}, ExpiresIn=URL_SECONDS
            )

    def parts(self, name: str, storage_id: str) -> dict[int, int]:
        return {number: size for number, (size, _) in self._parts(name, storage_id).items()}

    def join(self, name: str, storage_id: str) -> bool:
        parts = self._parts(name, storage_id)
        if not parts:
            return self._exists(name)
        joined = [{"PartNumber": number, "ETag": tag} for number, (_, tag) in sorted(parts.items())]
        with self._bucket.requests():
            try:
                self._bucket.client.complete_multipart_upload(
                    Bucket=self._bucket.bucket_name,
                    Key=self._key(name),
                    UploadId=storage_id,
                    MultipartUpload={"Parts": joined},  # type: ignore[typeddict-item]
                )
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise
                return self._exists(name)  # another process has joined them
        return True

    def read(self, name: str, while_reading: Callable[[], object] = lambda: None) -> StagedObject | None:
        with self._bucket.requests():
            try:
                response = self._bucket.client.get_object(Bucket=self._bucket.bucket_name, Key=self._key(name))
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise
                return None
            actual, size = hashlib.sha256(), 0
            for chunk in response["Body"].iter_chunks(CHUNK):
                actual.update(chunk)
                size += len(chunk)
                while_reading()
            if size != response["ContentLength"]:
                raise ArtifactStoreUnavailable("The artifact store returned only a part of the uploaded bytes.")
            return StagedObject(f"sha256:{actual.hexdigest()}", size, response["ETag"])

    def place(self, name: str, staged: StagedObject, key: str, verified: Callable[[], BlobStat | None]) -> bool:
        if verified() is not None:
            return True
        # An object at the key is now either damaged or was created by another process after the check.
        return (
            self._copied(name, staged, key, once=True)
            or verified() is not None
            or self._copied(name, staged, key, once=False)
        )

    def _copied(self, name: str, staged: StagedObject, key: str, *, once: bool) -> bool:
        """Copy the object. Return False if `once` is true and `key` exists, or if the staged object is another one."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
        with self._bucket.requests():
            try:
                self._bucket.client.copy_object(
                    Bucket=self._bucket.bucket_name,
                    Key=key,
                    CopySource={"Bucket": self._bucket.bucket_name, "Key": self._key(name)},
                    CopySourceIfMatch=staged.tag,
                    **condition,
                    **self._bucket.write_parameters(key),
                )
            except ClientError as error:
                if error_code(error) not in _ABSENT | _EXISTS:
                    raise
                return False
        return True

    def abort(self, name: str, storage_id: str) -> None:
        with self._bucket.requests():
            try:
                self._bucket.client.abort_multipart_upload(
                    Bucket=self._bucket.bucket_name, Key=self._key(name), UploadId=storage_id
                )
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise

    def discard(self, name: str, storage_id: str) -> None:
        if storage_id:
            self.abort(name, storage_id)
        with self._bucket.requests():
            self._bucket.client.delete_object(Bucket=self._bucket.bucket_name, Key=self._key(name))

    def _parts(self, name: str, storage_id: str) -> dict[int, tuple[int, str]]:
        """Return the size and ETag of each received part by its number."""
        received: dict[int, tuple[int, str]] = {}
        with self._bucket.requests():
            pages = self._bucket.client.get_paginator("list_parts").paginate(
                Bucket=self._bucket.bucket_name, Key=self._key(name), UploadId=storage_id
            )
            try:
                for page in pages:
                    received |= {part["PartNumber"]: (part["Size"], part["ETag"]) for part in page.get("Parts", ())}
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise
        return received

    def _exists(self, name: str) -> bool:
        with self._bucket.requests():
            try:
                self._bucket.client.head_object(Bucket=self._bucket.bucket_name, Key=self._key(name))
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise
                self._bucket.client.head_bucket(Bucket=self._bucket.bucket_name)
                return False
            return True

    def _key(self, name: str) -> str:
        return self._bucket.name_of("staging", name)


def error_code(error: ClientError) -> str:
    """Return the code of a server's error, such as `NoSuchKey`, or a status such as `404`."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))
