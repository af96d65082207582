"""Files of this machine in which uploads are received and hashed before they reach a store."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from foundation.errors import PayloadTooLarge
from releases.errors import ArtifactStoreUnavailable


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


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A file in the staging folder that an interrupted upload left behind. `size` is in bytes."""

    path: Path
    size: int
    modified_at: datetime


def left_over(folder: Path, before: datetime) -> Iterator[LeftOver]:
    """Yield the files that were last written before `before`: their process has died. Skips files that vanish."""
    with disk():
        paths = sorted(folder.iterdir()) if folder.exists() else []
    for path in paths:
        with disk(), suppress(FileNotFoundError):  # kept or discarded meanwhile
            stat = path.stat()
            modified_at = datetime.fromtimestamp(stat.st_mtime, UTC)
            if S_ISREG(stat.st_mode) and modified_at < before:
                yield LeftOver(path, stat.st_size, modified_at)
