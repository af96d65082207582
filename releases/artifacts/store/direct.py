"""Artifacts that are sent straight to S3: parts by presigned requests, under a staging key, never at a digest.

A presigned request takes one part of one upload, of exactly its size, for a short time. Nothing that a client sends
reaches a digest's place before the coordinator itself has read and hashed it.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from releases.artifacts.store.store import CHUNK, Seen

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

URL_SECONDS = 900
"""How long a presigned request may be begun."""
_GONE = frozenset({"NoSuchUpload", "NoSuchKey", "404", "NotFound"})
_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


@dataclass(frozen=True, slots=True)
class Staged:
    """Bytes under a staging key as they were read: their digest and size, and the tag they had then."""

    digest: str
    size: int
    tag: str


class DirectUploads:
    """The direct uploads of one S3 store; every method may raise `ArtifactStoreUnavailable`.

    `told` turns what the server or the way to it refuses into that error. `presigning` is the client whose address
    the senders know.
    """

    def __init__(
        self,
        client: "S3Client",
        presigning: "S3Client",
        bucket: str,
        under: Callable[..., str],
        told: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._client, self._presigning, self._bucket, self._told = client, presigning, bucket, told
        self._under = under

    def begin(self, name: str) -> str:
        """Begin a multipart upload under the staging key `name`, and return the server's id of it."""
        with self._told():
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._key(name), ContentType="application/octet-stream"
            )
            return answer["UploadId"]

    def url(self, name: str, storage_id: str, number: int, size: int) -> str:
        """Where to PUT one part; the server takes no other size."""
        where = {"Bucket": self._bucket, "Key": self._key(name), "UploadId": storage_id}
        return self._presigning.generate_presigned_url(
            "upload_part", Params={**where, "PartNumber": number, "ContentLength": size}, ExpiresIn=URL_SECONDS
        )

    def parts(self, name: str, storage_id: str) -> dict[int, int]:
        """The sizes of the parts that are there, by number; none where the upload is complete, or gone."""
        return {number: size for number, (size, _) in self._parts(name, storage_id).items()}

    def join(self, name: str, storage_id: str) -> bool:
        """Make one object of the parts; again where that was done before. False: there is nothing to make it of."""
        parts = self._parts(name, storage_id)
        if not parts:
            return self._there(name)
        joined = [{"PartNumber": number, "ETag": tag} for number, (_, tag) in sorted(parts.items())]
        with self._told():
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key(name),
                    UploadId=storage_id,
                    MultipartUpload={"Parts": joined},  # type: ignore[typeddict-item]
                )
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise
                return self._there(name)  # somebody else was faster
        return True

    def read(self, name: str, while_reading: Callable[[], object] = lambda: None) -> Staged | None:
        """Read and hash what is under the staging key, in constant memory; None where nothing is.

        Calls `while_reading` for each chunk.
        """
        with self._told():
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise
                return None
            actual, size = hashlib.sha256(), 0
            for chunk in answer["Body"].iter_chunks(CHUNK):
                actual.update(chunk)
                size += len(chunk)
                while_reading()
            return Staged(f"sha256:{actual.hexdigest()}", size, answer["ETag"])

    def place(self, name: str, staged: Staged, key: str, verified: Callable[[], Seen | None]) -> bool:
        """Copy, on the server, the very bytes that were read to `key`, unless `verified` finds them there.

        False: what was read is no longer under the staging key.
        """
        if verified() is not None:
            return True
        # What is there all the same is damaged, unless somebody else has just put it there.
        return (
            self._copied(name, staged, key, once=True)
            or verified() is not None
            or self._copied(name, staged, key, once=False)
        )

    def _copied(self, name: str, staged: Staged, key: str, *, once: bool) -> bool:
        """False: there is an object at `key`, for all that the server heeds `once`, or the source is another."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if once else {}
        with self._told():
            try:
                self._client.copy_object(
                    Bucket=self._bucket,
                    Key=key,
                    CopySource={"Bucket": self._bucket, "Key": self._key(name)},
                    CopySourceIfMatch=staged.tag,
                    **condition,
                )
            except ClientError as error:
                if _code(error) not in _GONE | _TAKEN:
                    raise
                return False
        return True

    def abort(self, name: str, storage_id: str) -> None:
        """Delete the parts of one multipart upload. The object under the staging key stays: it may be another's."""
        with self._told():
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key(name), UploadId=storage_id)
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise

    def discard(self, name: str, storage_id: str) -> None:
        """Delete the remains of a finished upload: its parts, and the object under its staging key."""
        if storage_id:
            self.abort(name, storage_id)
        with self._told():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def _parts(self, name: str, storage_id: str) -> dict[int, tuple[int, str]]:
        found: dict[int, tuple[int, str]] = {}
        pages = self._client.get_paginator("list_parts")
        with self._told():
            try:
                for page in pages.paginate(Bucket=self._bucket, Key=self._key(name), UploadId=storage_id):
                    found |= {part["PartNumber"]: (part["Size"], part["ETag"]) for part in page.get("Parts", ())}
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise
        return found

    def _there(self, name: str) -> bool:
        with self._told():
            try:
                self._client.head_object(Bucket=self._bucket, Key=self._key(name))
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise
                self._client.head_bucket(Bucket=self._bucket)
                return False
            return True

    def _key(self, name: str) -> str:
        return self._under("staging", name)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
