"""The artifact store on any S3-compatible server."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from storages.backends.s3 import S3Storage

from releases.artifacts.object_store import ObjectArtifactStore
from releases.artifacts.store import CHUNK, BlobStat, StagedBlob
from releases.errors import ArtifactStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

URL_SECONDS = 900
"""A client must begin a presigned request within this time, in seconds."""
_ABSENT = ("NoSuchKey", "404", "NotFound")
_ABSENT_UPLOAD = ("NoSuchUpload", *_ABSENT)
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


@dataclass(frozen=True, slots=True)
class StagedObject:
    """The digest, size in bytes and ETag of an object under a staging name, as it was read."""

    digest: str
    size: int
    tag: str


class DirectUploads:
    """Uploads that a client sends straight to the store: multipart uploads, of the object `<location>/staging/<name>`.

    A presigned request accepts one part of one upload, of exactly its size, for a short time. Nothing that a client
    sends reaches the name of a digest before the coordinator has read and hashed it. Every method may raise
    `ArtifactStoreUnavailable`.
    """

    def __init__(self, store: "S3ArtifactStore") -> None:
        self._store = store

    def origins(self) -> list[str]:
        """Return the origins, such as `https://s3.example`, to which clients send parts."""
        with self._store.requests():
            return self._store.public_origins

    def begin(self, name: str) -> str:
        """Begin an upload and return the server's ID of it."""
        key = self._key(name)
        with self._store.requests():
            response = self._store.client.create_multipart_upload(
                Bucket=self._store.bucket_name, Key=key, **self._store.write_parameters(key)
            )
            return response["UploadId"]

    def url(self, name: str, storage_id: str, number: int, size: int) -> str:
        """Return the URL to which a client PUTs part `number`. The server accepts only `size` bytes."""
        part = {"PartNumber": number, "ContentLength": size}
        with self._store.requests():
            return self._store.public_client.generate_presigned_url(
                "upload_part", Params={**self._upload(name, storage_id), **part}, ExpiresIn=URL_SECONDS
            )

    def parts(self, name: str, storage_id: str) -> dict[int, int]:
        """Return the size of each received part by its number; empty if the upload is complete or unknown."""
        return {number: size for number, (size, _) in self._parts(name, storage_id).items()}

    def join(self, name: str, storage_id: str) -> bool:
        """Join the parts into one object. Idempotent. Return False if neither exists."""
        parts = self._parts(name, storage_id)
        if not parts:
            return self._exists(name)
        joined = [{"PartNumber": number, "ETag": tag} for number, (_, tag) in sorted(parts.items())]
        with self._store.requests(), self._store.ignoring(*_ABSENT_UPLOAD):
            self._store.client.complete_multipart_upload(
                **self._upload(name, storage_id),
                MultipartUpload={"Parts": joined},  # type: ignore[typeddict-item]
            )
            return True
        return self._exists(name)  # another process has joined them

    def read(self, name: str, while_reading: Callable[[], object] = lambda: None) -> StagedObject | None:
        """Read and hash the joined object in constant memory; None if it does not exist.

        Calls `while_reading` for each chunk.
        """
        with self._store.requests(), self._store.ignoring(*_ABSENT_UPLOAD):
            response = self._store.client.get_object(Bucket=self._store.bucket_name, Key=self._key(name))
            actual, size = hashlib.sha256(), 0
            for chunk in response["Body"].iter_chunks(CHUNK):
                actual.update(chunk)
                size += len(chunk)
                while_reading()
            if size != response["ContentLength"]:
                raise ArtifactStoreUnavailable("The artifact store returned only a part of the uploaded bytes.")
            return StagedObject(f"sha256:{actual.hexdigest()}", size, response["ETag"])
        return None

    def place(self, name: str, staged: StagedObject, key: str, verified: Callable[[], BlobStat | None]) -> bool:
        """Copy exactly the bytes that were read to `key`, on the server, unless `verified` finds them there.

        Return False if the staging name no longer holds those bytes.
        """
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
        with self._store.requests(), self._store.ignoring(*_ABSENT_UPLOAD, *_EXISTS):
            self._store.client.copy_object(
                Bucket=self._store.bucket_name,
                Key=key,
                CopySource={"Bucket": self._store.bucket_name, "Key": self._key(name)},
                CopySourceIfMatch=staged.tag,
                **condition,
                **self._store.write_parameters(key),
            )
            return True
        return False

    def abort(self, name: str, storage_id: str) -> None:
        """Delete the parts of one upload. Keeps the joined object, which another upload may have made."""
        with self._store.requests(), self._store.ignoring(*_ABSENT_UPLOAD):
            self._store.client.abort_multipart_upload(**self._upload(name, storage_id))

    def discard(self, name: str, storage_id: str) -> None:
        """Delete everything that a finished upload left: its parts and the joined object."""
        if storage_id:
            self.abort(name, storage_id)
        with self._store.requests():
            self._store.client.delete_object(Bucket=self._store.bucket_name, Key=self._key(name))

    def _parts(self, name: str, storage_id: str) -> dict[int, tuple[int, str]]:
        """Return the size and ETag of each received part by its number."""
        received: dict[int, tuple[int, str]] = {}
        with self._store.requests(), self._store.ignoring(*_ABSENT_UPLOAD):
            for page in self._store.client.get_paginator("list_parts").paginate(**self._upload(name, storage_id)):
                received |= {part["PartNumber"]: (part["Size"], part["ETag"]) for part in page.get("Parts", ())}
        return received

    def _exists(self, name: str) -> bool:
        with self._store.requests():
            return self._store._head(self._key(name)) is not None

    def _upload(self, name: str, storage_id: str) -> dict[str, Any]:
        return {"Bucket": self._store.bucket_name, "Key": self._key(name), "UploadId": storage_id}

    def _key(self, name: str) -> str:
        return self._store.name_of("staging", name)


class S3ArtifactStore(ObjectArtifactStore, S3Storage):
    """An artifact store in a bucket of S3. Takes the options of django-storages' `S3Storage`.

    It creates an object by one PUT with `If-None-Match: *` and the SHA-256, which the server verifies. S3 accepts at
    most 5 GiB in one request. Clients use `public_endpoint_url` for direct uploads, if it is set.
    """

    client_config: Config
    checksum_errors = (FlexibleChecksumError,)
    errors = (ClientError, BotoCoreError, OSError)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        defaults = Config(
            connect_timeout=min(5.0, self.timeout_seconds),
            read_timeout=self.timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": 3},
            # The store sends the checksum of the whole content. The client verifies it when it reads that.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_supported",
            max_pool_connections=32,
        )
        self.client_config = defaults.merge(self.client_config)

    def get_default_settings(self) -> dict[str, Any]:
        return super().get_default_settings() | {"public_endpoint_url": ""}

    @cached_property
    def client(self) -> "S3Client":
        """The client of this process. Threads share it: it is thread-safe, and its creation takes 0.1 seconds."""
        client: S3Client = copy(self).connection.meta.client
        return client

    @cached_property
    def public_client(self) -> "S3Client":
        """The client that presigns requests for other programs, which may know the server by another address."""
        client: S3Client = self._public().connection.meta.client
        return client

    @cached_property
    def direct(self) -> DirectUploads:
        return DirectUploads(self)

    @cached_property
    def public_origins(self) -> list[str]:
        """The origins of presigned requests. Needs no credentials and no network."""
        client = self._public().unsigned_connection.meta.client
        url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": self.bucket_name, "Key": "part"}))
        origins = [f"{url.scheme}://{url.netloc}"]
        if not (self.public_endpoint_url or self.endpoint_url):
            # AWS may redirect from the global host name of a bucket to the one of its region.
            origins.insert(0, origins[0].replace("s3.amazonaws.com", f"s3.{self.region_name}.amazonaws.com"))
        return list(dict.fromkeys(origins))

    def _public(self) -> S3Storage:
        public = copy(self)
        public.endpoint_url = self.public_endpoint_url or self.endpoint_url
        return public

    def disconnect(self) -> None:
        for name in ("client", "public_client"):
            self.__dict__.pop(name, None)
        self.__setstate__(self.__getstate__())

    def address(self, digest: str) -> str:
        return f"s3://{self.bucket_name}/{self.key(digest)}"

    def code_of(self, error: BaseException) -> str:
        """Return a code such as `NoSuchKey`, or a status such as `404`."""
        return str(error.response.get("Error", {}).get("Code", "unknown")) if isinstance(error, ClientError) else ""

    def write_parameters(self, key: str) -> dict[str, Any]:
        """Return what the options `object_parameters` and `default_acl` say about a new object."""
        parameters: dict[str, Any] = self._get_write_parameters(key)
        return parameters

    def _upload(self, key: str, staged: StagedBlob, *, once: bool) -> bool:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
        with staged.open() as body, self.ignoring(*_EXISTS if once else ()):
            self.client.put_object(
                Bucket=self.bucket_name,
                Key=key,
                Body=body,
                ContentLength=staged.size,
                ChecksumSHA256=base64.b64encode(staged.checksum).decode(),
                **condition,
                **self.write_parameters(key),
            )
            return True
        return False

    def _head(self, key: str) -> BlobStat | None:
        with self.ignoring(*_ABSENT):
            return _blob_stat(self.client.head_object(Bucket=self.bucket_name, Key=key))
        # The response to HEAD has no body, so a missing bucket looks like a missing object.
        self.client.head_bucket(Bucket=self.bucket_name)
        return None

    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        with self.ignoring("NoSuchKey"):
            response = self.client.get_object(Bucket=self.bucket_name, Key=key)
            return _blob_stat(response), response["Body"].iter_chunks(CHUNK)
        return None

    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        with self.ignoring("NoSuchKey", "InvalidRange"):
            response = self.client.get_object(Bucket=self.bucket_name, Key=key, Range=f"bytes={start}-{stop - 1}")
            if "ContentRange" not in response:
                raise ArtifactStoreUnavailable("The artifact store ignores ranges.")
            return response["Body"].read()
        return b""

    def _objects(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket_name, Prefix=prefix):
            for row in page.get("Contents", ()):
                yield row["Key"], row["Size"], row["LastModified"]

    def _delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket_name, Key=key)

    def _copy(self, key: str, target: str) -> bool:
        with self.ignoring("NoSuchKey"):
            self.client.copy_object(
                Bucket=self.bucket_name,
                Key=target,
                CopySource={"Bucket": self.bucket_name, "Key": key},
                **self.write_parameters(target),
            )
            return True
        return False


def _blob_stat(response: Any) -> BlobStat:
    size, modified = int(response["ContentLength"]), response["LastModified"]
    return BlobStat(size, f"{size}:{response['ETag']}:{modified.timestamp():.0f}")
