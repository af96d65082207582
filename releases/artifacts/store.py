"""The content-addressed store of executable artifacts, a Django storage.

Bytes are hashed while they are received and stored under their digest. Writes are therefore idempotent, and the
rollback of the row that names a blob does not harm it. `STORAGES["artifacts"]` names the module that implements the
interface. It is imported with the first use.
"""

import hashlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import Storage, storages

from foundation.errors import PayloadTooLarge
from releases.errors import ArtifactStoreUnavailable

if TYPE_CHECKING:
    from releases.artifacts.s3_store import DirectUploads

CHUNK = 1024 * 1024
"""Bytes are read and hashed in chunks of this size, in bytes."""
PART_CHUNK = 64 * 1024
"""The largest chunk of a part that a local store returns, in bytes. Many clients may read parts at once."""
_HEX = frozenset("0123456789abcdef")


# --- files of this machine in which uploads are received and hashed before they reach a store ---


@contextmanager
def disk() -> Iterator[None]:
    """Turn `OSError` into `ArtifactStoreUnavailable`: an error of the disk says nothing about a blob.

    The message contains no path.
    """
    try:
        yield
    except OSError as error:
        raise ArtifactStoreUnavailable(
            f"The artifact store's disk cannot be used: {error.strerror or type(error).__name__}."
        ) from error


class StagedBlob:
    """An upload: `write` the bytes, then `keep` or `discard` them. Uses constant memory.

    `write` raises `PayloadTooLarge` beyond `limit` bytes. After that, only `discard` is useful.
    """

    def __init__(self, folder: Path, limit: int, keep: "Callable[[StagedBlob], str]") -> None:
        self._limit = limit
        self._keep = keep
        self._hash = hashlib.sha256()
        with disk():
            descriptor, name = tempfile.mkstemp(dir=folder)
        self._file = os.fdopen(descriptor, "wb")
        self.path = Path(name)
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise PayloadTooLarge(f"An artifact may have at most {self._limit} bytes.", limit=self._limit)
        self._hash.update(chunk)
        with disk():
            self._file.write(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def checksum(self) -> bytes:
        """The SHA-256 of the bytes, in binary form."""
        return self._hash.digest()

    def sync(self) -> None:
        """Flush every byte to the disk."""
        if not self._file.closed:
            with disk():
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()

    def open(self) -> BinaryIO:
        """Return the bytes that are on the disk. Call `sync` first."""
        with disk():
            return self.path.open("rb")

    def keep(self) -> str:
        """Make the bytes durable in the store and return their fingerprint. See `ArtifactStore.keep`."""
        return self._keep(self)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def staging_folder(path: Path) -> Path:
    """Return `path`, the folder in which uploads are received. Create it if it does not exist."""
    with disk():
        private_folder(path)
    return path


def private_folder(path: Path) -> None:
    """Create `path` and its missing parents with mode 0700. Ignores the umask."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the interface of every store ---


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """One entry of a listing. Its bytes are unverified. `size` is in bytes."""

    digest: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class BlobStat:
    """The metadata of a blob, which a store returns without reading the bytes. `size` is in bytes.

    While `fingerprint` is unchanged, the bytes are those that were last hashed. It is made of the size and of times, an
    inode, or a tag or generation that the server assigns to each write.
    """

    size: int
    fingerprint: str


class ArtifactStore(Storage, ABC):
    """A Django storage whose files are blobs, each named by its SHA-256 digest.

    Every method may raise `ArtifactStoreUnavailable`, which says nothing about any blob. A method that takes a digest
    raises `ValueError` for anything else than `sha256:` and 64 lower-case hex digits.

    The store does not know the database. A caller that removes or replaces bytes holds the digest's lease
    (`releases.artifacts.blob_lock`), because the store cannot know who is about to refer to them.

    A subclass implements requests for one file or object by its key, the name. They are sent within `requests`.
    """

    is_remote: bool
    """True if `stat` is a call over the network."""
    staging: Path
    """The folder of this machine in which uploads are received."""
    write_marks: tuple[int, ...]
    """The parts of a fingerprint that change only when the bytes are written."""
    checksum_errors: tuple[type[Exception], ...] = ()
    """What `_get` raises, after the last byte, if the bytes do not match the server's checksum."""

    @property
    def direct(self) -> "DirectUploads | None":
        """The direct uploads of this store; None if it does not support them."""
        return None

    def set_up(self) -> None:
        """Create an empty store at the configured place. Does nothing to an existing store, or to one on a server."""

    def stage(self, limit: int) -> StagedBlob:
        """Begin to receive at most `limit` bytes."""
        return StagedBlob(staging_folder(self.staging), limit, self.keep)

    def keep(self, staged: StagedBlob) -> str:
        """Make staged bytes durable under their digest, once, and return their fingerprint.

        If the store already has the right bytes, they are verified and left unchanged. Wrong bytes are replaced.
        """
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

    def _put(self, staged: StagedBlob, *, once: bool) -> bool:
        with self.requests():
            return self._upload(self.key(staged.digest), staged, once=once)

    @abstractmethod
    def read(self, digest: str, while_reading: Callable[[], object] = ...) -> BinaryIO | None:
        """Return the bytes as a seekable file; None if there are none. The caller verifies them.

        A remote store calls `while_reading` for each chunk that it fetches.
        """

    @abstractmethod
    def part(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from position `start` to before `stop`, unverified, and read no others.

        Uses constant memory. Yields less if there are fewer bytes, and nothing if there are none.
        """

    @abstractmethod
    def key(self, digest: str) -> str:
        """Return the name that the bytes have in this storage, below its location or including its prefix."""

    @abstractmethod
    def address(self, digest: str) -> str:
        """Return a URI that tells people and other programs where the bytes are. Nothing opens it."""

    def stat(self, digest: str) -> BlobStat | None:
        """Return the metadata of the bytes without reading them; None if there are none."""
        key = self.key(digest)
        with self.requests():
            return self._head(key)

    def is_rewritten(self, before: str, now: str) -> bool:
        """Compare two fingerprints of a blob. True if its bytes were certainly written again in between.

        False if only other metadata differ, or if one fingerprint is that of a store of another kind.
        """
        old, new = before.split(":"), now.split(":")
        return len(old) == len(new) and any(old[mark] != new[mark] for mark in self.write_marks)

    def verified(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BlobStat | None:
        """Read and hash all bytes. Return their metadata; None if the digest is another one or there are no bytes.

        Calls `while_reading` for each chunk. Also raises `ArtifactStoreUnavailable` if the store returns less than it
        lists, or if the bytes change meanwhile.
        """
        stat, matches = self._compare(self.key(digest), digest, while_reading)
        return stat if matches else None

    def _compare(
        self, key: str, digest: str, while_reading: Callable[[], object] = lambda: None
    ) -> tuple[BlobStat | None, bool]:
        """Read the bytes at `key`. Return their metadata, and True if they have the digest.

        Raises `ArtifactStoreUnavailable` if other bytes are not all that the store lists. A file must not change while
        it is read, even if its bytes are right: a response of a server is of one object.
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
            if not (matches and self.is_remote) and (size != stat.size or self._head(key) != stat):
                raise misread(digest)
            return stat, matches

    def list(self) -> Iterator[StoredBlob]:
        """Yield every blob, in the order of the digests."""
        with self.requests():
            for name, size, modified_at in self._objects(self.name_of("sha256", "")):
                digest = f"sha256:{name.rpartition('/')[2]}"
                try:
                    is_blob = self.key(digest) == name
                except ValueError:
                    continue
                if is_blob:
                    yield StoredBlob(digest, size, modified_at)

    def remove(self, digest: str) -> None:
        """Remove the bytes. Does nothing if there are none."""
        key = self.key(digest)
        with self.requests():
            self._delete(key)

    def quarantine_name(self, digest: str) -> str:
        """Return a new name outside of the blobs for the bytes at `digest`."""
        return self.name_of("quarantine", f"{hexadecimal(digest)}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")

    @abstractmethod
    def quarantine(self, digest: str) -> str | None:
        """Move wrong bytes to another name, outside of the blobs, and return it; None if there are none.

        The bytes are hashed. If their digest is right, they stay, and `ArtifactStoreUnavailable` is raised.
        """

    @abstractmethod
    def restore(self, digest: str) -> BlobStat | None:
        """Move bytes with this digest back from quarantine and return their metadata; None if there are none.

        The caller has checked that there are no bytes at `digest`.
        """

    def _save(self, name: str, content: Any) -> NoReturn:
        """Django's `save` takes any name, which could store wrong bytes under a digest."""
        raise NotImplementedError("An artifact store saves bytes under their digest: use stage().")

    @abstractmethod
    def name_of(self, *segments: str) -> str:
        """Return the name of an object below the location."""

    @abstractmethod
    def requests(self) -> AbstractContextManager[None]:
        """Return a context in which errors of the disk or the client library become `ArtifactStoreUnavailable`.

        Messages contain a code or the name of an error class, and no path.
        """

    @abstractmethod
    def _upload(self, key: str, staged: StagedBlob, *, once: bool) -> bool:
        """Write the bytes, with a checksum that a server verifies.

        If `once` is true, create the object, or return False if there is one. Otherwise replace it.
        """

    @abstractmethod
    def _head(self, key: str) -> BlobStat | None:
        """Return the metadata of an object; None if the bucket exists and the object does not."""

    @abstractmethod
    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        """Return the metadata and the content, in chunks; None if the bucket exists and the object does not."""

    @abstractmethod
    def _objects(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        """Yield name, size in bytes and time of each object whose name begins with `prefix`, sorted by name."""

    @abstractmethod
    def _delete(self, key: str) -> None:
        """Delete an object. Does nothing if it does not exist."""


def misread(digest: str) -> ArtifactStoreUnavailable:
    """Return the error for a store whose answers about `digest` contradict each other."""
    return ArtifactStoreUnavailable(f"The artifact store does not return the bytes of {digest} that it has. Try again.")


def hexadecimal(digest: str) -> str:
    """Return the hex digits of a `sha256:` digest. Raise `ValueError` for anything else, before it can name a file."""
    digits = digest.removeprefix("sha256:")
    if len(digits) != 64 or not set(digits) <= _HEX or digits == digest:
        raise ValueError("not a sha256 digest")
    return digits


# --- the configured stores ---


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
