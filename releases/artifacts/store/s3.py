"""The artifact store on any S3-compatible server."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from storages.backends.s3 import S3Storage

from releases.artifacts.store.base import CHUNK, BlobStat
from releases.artifacts.store.direct import S3DirectUploads, error_code
from releases.artifacts.store.objects import ObjectArtifactStore, StoredObject
from releases.artifacts.store.staging import StagedBlob
from releases.errors import ArtifactStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_EXISTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class S3ArtifactStore(ObjectArtifactStore, S3Storage):
    """An artifact store in a bucket of S3. Takes the options of django-storages' `S3Storage`.

    It creates an object by one PUT with `If-None-Match: *` and the SHA-256, which the server verifies. S3 accepts at
    most 5 GiB in one request. Clients use `public_endpoint_url` for direct uploads, if it is set.
    """

    client_config: Config
    checksum_errors = (FlexibleChecksumError,)

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
    def direct(self) -> S3DirectUploads:
        return S3DirectUploads(self)

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

    @contextmanager
    def requests(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise ArtifactStoreUnavailable(f"The artifact store refused: {error_code(error)}.") from error
        except (BotoCoreError, OSError) as error:
            raise ArtifactStoreUnavailable(f"The artifact store does not answer: {type(error).__name__}.") from error

    def write_parameters(self, key: str) -> dict[str, Any]:
        """Return what the options `object_parameters` and `default_acl` say about a new object."""
        parameters: dict[str, Any] = self._get_write_parameters(key)
        return parameters

    def _upload(self, key: str, body: BinaryIO, staged: StagedBlob, *, once: bool) -> bool:
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
        try:
            self.client.put_object(
                Bucket=self.bucket_name,
                Key=key,
                Body=body,
                ContentLength=staged.size,
                ChecksumSHA256=base64.b64encode(staged.checksum).decode(),
                **condition,
                **self.write_parameters(key),
            )
        except ClientError as error:
            if once and error_code(error) in _EXISTS:
                return False
            raise
        return True

    def _head(self, key: str) -> BlobStat | None:
        try:
            return _blob_stat(self.client.head_object(Bucket=self.bucket_name, Key=key))
        except ClientError as error:
            if error_code(error) not in _ABSENT:
                raise
            # The response to HEAD has no body, so a missing bucket looks like a missing object.
            self.client.head_bucket(Bucket=self.bucket_name)
            return None

    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        try:
            response = self.client.get_object(Bucket=self.bucket_name, Key=key)
        except ClientError as error:
            if error_code(error) != "NoSuchKey":
                raise
            return None
        return _blob_stat(response), response["Body"].iter_chunks(CHUNK)

    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        try:
            response = self.client.get_object(Bucket=self.bucket_name, Key=key, Range=f"bytes={start}-{stop - 1}")
        except ClientError as error:
            if error_code(error) not in {"NoSuchKey", "InvalidRange"}:
                raise
            return b""
        if "ContentRange" not in response:
            raise ArtifactStoreUnavailable("The artifact store ignores ranges.")
        return response["Body"].read()

    def _objects(self, prefix: str) -> Iterator[StoredObject]:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket_name, Prefix=prefix):
            for row in page.get("Contents", ()):
                yield StoredObject(row["Key"], row["Size"], row["LastModified"])

    def _delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket_name, Key=key)

    def _copy(self, key: str, target: str) -> bool:
        try:
            self.client.copy_object(
                Bucket=self.bucket_name,
                Key=target,
                CopySource={"Bucket": self.bucket_name, "Key": key},
                **self.write_parameters(target),
            )
        except ClientError as error:
            if error_code(error) != "NoSuchKey":
                raise
            return False
        return True


def _blob_stat(response: Any) -> BlobStat:
    size, modified = int(response["ContentLength"]), response["LastModified"]
    return BlobStat(size, f"{size}:{response['ETag']}:{modified.timestamp():.0f}")
