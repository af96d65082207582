"""The artifact store of many hosts: blobs as objects of any S3-compatible server (wire protocol A.4)."""

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from releases.artifacts.store.direct import DirectUploads
from releases.artifacts.store.staging import StagedBlob, disk, staging_folder
from releases.artifacts.store.store import CHUNK, Seen, Stored, hexadecimal
from releases.errors import ArtifactStoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LARGEST_PUT = 5 * 1024**3
"""What S3 takes in one request, the only kind that has both a condition and a checksum of the whole."""
_ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where the bucket is and who we are there. Without a key, boto3 looks where it always does, such as a role."""

    bucket: str
    prefix: str = ""
    endpoint_url: str = ""
    public_endpoint_url: str = ""
    region: str = "us-east-1"
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_seconds: float = 20.0


class S3ArtifactStore:
    """Blobs at `<prefix>/sha256/<hex>`, each created by one conditional request whose checksum the server verifies.

    Uploads grow in a folder of this machine, since the key is their digest. Reads go through a nameless file there.
    """

    is_remote = True

    def __init__(self, where: S3Settings, scratch: Path) -> None:
        self.where = where
        self.staging = staging_folder(scratch / "staging")
        self._client = _client(replace(where, prefix=""), os.getpid())
        known = replace(where, prefix="", endpoint_url=where.public_endpoint_url or where.endpoint_url)
        presigning = _client(known, os.getpid())
        self.direct: DirectUploads | None = DirectUploads(self._client, presigning, where.bucket, self._under, _told)

    def set_up(self) -> None:
        """Do nothing: the operator of the S3 server creates the bucket."""

    def stage(self, limit: int) -> StagedBlob:
        return StagedBlob(self.staging, limit, self.keep)

    def key(self, digest: str) -> str:
        return self._under("sha256", hexadecimal(digest))

    def address(self, digest: str) -> str:
        return f"s3://{self.where.bucket}/{self.key(digest)}"

    def keep(self, staged: StagedBlob) -> str:
        staged.sync()
        if not self._put(staged, once=True):
            there = self.verified(staged.digest)
            if there is not None:
                staged.discard()
                return there.fingerprint
            self._put(staged, once=False)  # damaged: whoever else replaces it puts the same bytes
        there = self.look(staged.digest)
        if there is None or there.size != staged.size:
            raise ArtifactStoreUnavailable("The artifact store took an upload and does not have it.")
        staged.discard()
        return there.fingerprint

    def open(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BinaryIO | None:
        with _told():
            answer = self._get(digest)
            if answer is None:
                return None
            with disk():
                file = cast("BinaryIO", tempfile.TemporaryFile(dir=self.staging))  # noqa: SIM115 - the caller's
            try:
                for chunk in answer["Body"].iter_chunks(CHUNK):
                    with disk():
                        file.write(chunk)
                    while_reading()
                with disk():
                    file.seek(0)
            except BaseException:
                file.close()
                raise
            return file

    def look(self, digest: str) -> Seen | None:
        key = self.key(digest)
        with _told():
            try:
                return _seen(self._client.head_object(Bucket=self.where.bucket, Key=key))
            except ClientError as error:
                if _code(error) not in _ABSENT:
                    raise
                # A HEAD has no body, so a bucket that is gone looks like a key that is gone.
                self._client.head_bucket(Bucket=self.where.bucket)
                return None

    def verified(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> Seen | None:
        with _told():
            answer = self._get(digest)
            if answer is None:
                return None
            actual = hashlib.sha256()
            for chunk in answer["Body"].iter_chunks(CHUNK):
                actual.update(chunk)
                while_reading()
            return _seen(answer) if f"sha256:{actual.hexdigest()}" == digest else None

    def list(self) -> Iterator[Stored]:
        pages = self._client.get_paginator("list_objects_v2")
        start = self._under("sha256", "")
        with _told():
            for page in pages.paginate(Bucket=self.where.bucket, Prefix=start):
                for row in page.get("Contents", ()):
                    digest = f"sha256:{row['Key'].removeprefix(start)}"
                    try:
                        hexadecimal(digest)
                    except ValueError:  # nothing that this store has put there
                        continue
                    yield Stored(digest, row["Size"], row["LastModified"])

    def remove(self, digest: str) -> None:
        key = self.key(digest)
        with _told():
            self._client.delete_object(Bucket=self.where.bucket, Key=key)

    def quarantine(self, digest: str) -> str | None:
        key = self.key(digest)
        target = self._under("quarantine", f"{hexadecimal(digest)}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        with _told():
            try:
                self._client.copy_object(
                    Bucket=self.where.bucket, Key=target, CopySource={"Bucket": self.where.bucket, "Key": key}
                )
            except ClientError as error:
                if _code(error) != "NoSuchKey":
                    raise
                return None
            self._client.delete_object(Bucket=self.where.bucket, Key=key)
        return target

    def _put(self, staged: StagedBlob, *, once: bool) -> bool:
        """Send the bytes with their checksum. False: `once` was asked for, and there is an object already."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
        with _told(), disk_file(staged) as body:
            try:
                self._client.put_object(
                    Bucket=self.where.bucket,
                    Key=self.key(staged.digest),
                    Body=body,
                    ContentLength=staged.size,
                    ContentType="application/octet-stream",
                    ChecksumSHA256=base64.b64encode(staged.checksum).decode(),
                    **condition,
                )
            except ClientError as error:
                if once and _code(error) in _TAKEN:
                    return False
                raise
        return True

    def _get(self, digest: str) -> Any:
        try:
            return self._client.get_object(Bucket=self.where.bucket, Key=self.key(digest))
        except ClientError as error:
            if _code(error) != "NoSuchKey":
                raise
            return None

    def _under(self, *parts: str) -> str:
        return "/".join([self.where.prefix.strip("/"), *parts] if self.where.prefix.strip("/") else parts)


@contextmanager
def disk_file(staged: StagedBlob) -> Iterator[BinaryIO]:
    with disk():
        file = staged.open()
    with file:
        yield file


@lru_cache(maxsize=8)
def _client(where: S3Settings, _process: int) -> "S3Client":
    """One client a process (it is safe for threads, not across a fork), since making one takes a tenth of a second."""
    client: S3Client = boto3.session.Session().client(
        "s3",
        endpoint_url=where.endpoint_url or None,
        region_name=where.region,
        aws_access_key_id=where.access_key_id or None,
        aws_secret_access_key=where.secret_access_key or None,
        verify=where.ca_file or None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if where.endpoint_url else "auto"},
            connect_timeout=min(5.0, where.timeout_seconds),
            read_timeout=where.timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": 3},
            # Ours is the checksum of the whole, and we verify what we read: no further ones are asked for.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
        ),
    )
    return client


@contextmanager
def _told() -> Iterator[None]:
    """What the server or the way to it refuses says nothing about a blob. No message holds more than a code."""
    try:
        yield
    except ClientError as error:
        raise ArtifactStoreUnavailable(f"The artifact store refused: {_code(error)}.") from error
    except (BotoCoreError, OSError) as error:
        raise ArtifactStoreUnavailable(f"The artifact store does not answer: {type(error).__name__}.") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _seen(answer: Any) -> Seen:
    size, changed = int(answer["ContentLength"]), answer["LastModified"]
    return Seen(size, f"{size}:{answer['ETag']}:{changed.timestamp():.0f}")
