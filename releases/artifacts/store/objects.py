"""What the artifact stores of many hosts have in common: blobs as objects of a storage server (wire protocol A.4)."""

import hashlib
import os
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured

from releases.artifacts.store.base import CHUNK, ArtifactStore, BlobStat, StoredBlob, hexadecimal, misread
from releases.artifacts.store.staging import StagedBlob, disk, staging_folder
from releases.errors import ArtifactStoreUnavailable


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of a server's listing. `size` is in bytes."""

    name: str
    size: int
    modified_at: datetime


PART_BYTES = 2 * CHUNK
"""A part of an object is fetched in ranges of this size, in bytes, so that no connection waits for a slow reader."""


class ObjectArtifactStore(ArtifactStore):
    """Blobs at `<location>/sha256/<hex>`, each created by a request that fails if the object exists.

    Uploads are received in `staging`, a folder of this machine, because the digest is not known before their end. Reads
    go through a nameless file there. A subclass inherits from a backend of django-storages, which understands the
    options, connects and authenticates, and adds the requests that content addressing needs.
    """

    is_remote = True
    client: Any
    """The client of this process, of the library that connects to the server. Threads share it."""
    checksum_errors: tuple[type[Exception], ...] = ()
    """What the client raises, after the last byte, if the bytes do not match the server's checksum."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not self.staging:
            raise ImproperlyConfigured(f"{type(self).__name__} needs the option staging.")
        self.staging = Path(self.staging)
        _stores.add(self)

    def get_default_settings(self) -> dict[str, Any]:
        """Return the options with their defaults. `timeout_seconds` limits how long the server may be silent."""
        defaults: dict[str, Any] = super().get_default_settings()  # type: ignore[misc]
        return defaults | {"staging": None, "timeout_seconds": 20.0}

    def set_up(self) -> None:
        """Do nothing: the operator creates the bucket."""

    def stage(self, limit: int) -> StagedBlob:
        return StagedBlob(staging_folder(self.staging), limit, self.keep)

    def key(self, digest: str) -> str:
        return self.name_of("sha256", hexadecimal(digest))

    def name_of(self, *parts: str) -> str:
        """Return the name of an object below the location."""
        name: str = self._normalize_name("/".join(parts))  # type: ignore[attr-defined]
        return name

    def keep(self, staged: StagedBlob) -> str:
        staged.sync()
        if not self._put(staged, once=True):
            present = self.verified(staged.digest)
            if present is not None:
                staged.discard()
                return present.fingerprint
            self._put(staged, once=False)  # damaged: any other writer replaces it by the same bytes
        present = self.stat(staged.digest)
        if present is None or present.size != staged.size:
            raise ArtifactStoreUnavailable("The artifact store accepted an upload and does not have it.")
        staged.discard()
        return present.fingerprint

    def read(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BinaryIO | None:
        key = self.key(digest)
        with self.requests():
            response = self._get(key)
            if response is None:
                return None
            with disk():
                file = cast("BinaryIO", tempfile.TemporaryFile(dir=staging_folder(self.staging)))  # noqa: SIM115 - the caller's
            try:
                for chunk in response[1]:
                    with disk():
                        file.write(chunk)
                    while_reading()
                if file.tell() != response[0].size:
                    raise misread(digest)
                with disk():
                    file.seek(0)
            except BaseException:
                file.close()
                raise
            return file

    def part(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        key = self.key(digest)
        for first in range(start, stop, PART_BYTES):
            with self.requests():
                chunk = self._get_range(key, first, min(first + PART_BYTES, stop))
            if not chunk:
                return
            yield chunk

    def stat(self, digest: str) -> BlobStat | None:
        key = self.key(digest)
        with self.requests():
            return self._head(key)

    def is_rewritten(self, before: str, now: str) -> bool:
        """Compare the ETags or generations."""
        old, new = before.split(":"), now.split(":")
        return len(old) == len(new) and old[1] != new[1]

    def verified(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BlobStat | None:
        stat, matches = self._compare(self.key(digest), digest, while_reading)
        return stat if matches else None

    def _compare(
        self, key: str, digest: str, while_reading: Callable[[], object] = lambda: None
    ) -> tuple[BlobStat | None, bool]:
        """Read an object. Return its metadata, and True if its bytes have the digest.

        Raises `ArtifactStoreUnavailable` if other bytes are not all that the server lists.
        """
        with self.requests():
            response = self._get(key)
            if response is None:
                return None, False
            stat, chunks = response
            actual, size = hashlib.sha256(), 0
            with suppress(*self.checksum_errors):  # all bytes have arrived, so the digest decides
                for chunk in chunks:
                    actual.update(chunk)
                    size += len(chunk)
                    while_reading()
            matches = f"sha256:{actual.hexdigest()}" == digest
            if not matches and (size != stat.size or self._head(key) != stat):
                raise misread(digest)
            return stat, matches

    def list(self) -> Iterator[StoredBlob]:
        prefix = self.name_of("sha256", "")
        with self.requests():
            for stored in self._objects(prefix):
                digest = f"sha256:{stored.name.removeprefix(prefix)}"
                try:
                    hexadecimal(digest)
                except ValueError:  # not an object of this store
                    continue
                yield StoredBlob(digest, stored.size, stored.modified_at)

    def remove(self, digest: str) -> None:
        key = self.key(digest)
        with self.requests():
            self._delete(key)

    def quarantine(self, digest: str) -> str | None:
        key = self.key(digest)
        target = self.name_of("quarantine", f"{hexadecimal(digest)}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        with self.requests():
            if not self._copy(key, target):
                return None
        stat, matches = self._compare(target, digest)
        with self.requests():
            self._delete(target if matches or stat is None else key)
        if matches or stat is None:
            raise misread(digest)
        return target

    def restore(self, digest: str) -> BlobStat | None:
        with self.requests():
            found = [stored.name for stored in self._objects(self.name_of("quarantine", hexadecimal(digest)))]
        for name in found:
            if self._compare(name, digest)[1]:
                with self.requests():
                    self._copy(name, self.key(digest))
                stat = self.verified(digest)
                if stat is None:
                    raise misread(digest)
                with self.requests():
                    self._delete(name)
                return stat
        return None

    def _put(self, staged: StagedBlob, *, once: bool) -> bool:
        with self.requests(), _opened(staged) as body:
            return self._upload(self.key(staged.digest), body, staged, once=once)

    @abstractmethod
    def requests(self) -> AbstractContextManager[None]:
        """Return a context in which errors of the client library become `ArtifactStoreUnavailable`.

        An error of the server or of the connection says nothing about a blob. Messages contain a code or the name of an
        error class and nothing else.
        """

    @abstractmethod
    def disconnect(self) -> None:
        """Forget open connections, without closing them. The next request opens new ones."""

    @abstractmethod
    def _upload(self, key: str, body: BinaryIO, staged: StagedBlob, *, once: bool) -> bool:
        """Send the bytes with a checksum that the server verifies.

        If `once` is true, create the object, or return False if there is one. Otherwise replace it.
        """

    @abstractmethod
    def _head(self, key: str) -> BlobStat | None:
        """Return the metadata of an object; None if the bucket exists and the object does not."""

    @abstractmethod
    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        """Return the metadata and the content, in chunks; None if the bucket exists and the object does not."""

    @abstractmethod
    def _get_range(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes from position `start` to before `stop`; fewer if the object ends there or does not exist."""

    @abstractmethod
    def _objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose names begin with `prefix`, sorted by name."""

    @abstractmethod
    def _delete(self, key: str) -> None:
        """Delete an object. Does nothing if it does not exist."""

    @abstractmethod
    def _copy(self, key: str, target: str) -> bool:
        """Copy an object on the server. Return False if it does not exist."""


_stores: WeakSet[ObjectArtifactStore] = WeakSet()


def _disconnect_all() -> None:
    for store in _stores:
        store.disconnect()


# Two processes must not share a connection.
os.register_at_fork(after_in_child=_disconnect_all)


def _opened(staged: StagedBlob) -> BinaryIO:
    with disk():
        return staged.open()
