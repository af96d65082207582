"""Bytes on their way into a store: a file of this machine's that is hashed as it grows."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from foundation.errors import PayloadTooLarge
from releases.errors import ArtifactStoreUnavailable


@contextmanager
def disk() -> Iterator[None]:
    """What goes wrong with the disk says nothing about a blob: it is `ArtifactStoreUnavailable`, with no path in it."""
    try:
        yield
    except OSError as error:
        raise ArtifactStoreUnavailable(
            f"The artifact store's disk cannot be used: {error.strerror or type(error).__name__}."
        ) from error


class StagedBlob:
    """`write` the bytes, then `keep` or `discard`. Memory stays constant at any size.

    `write` raises `PayloadTooLarge` beyond `limit` bytes, after which only `discard` makes sense.
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
        """The SHA-256 itself."""
        return self._hash.digest()

    def sync(self) -> None:
        """Have every byte on disk."""
        if not self._file.closed:
            with disk():
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()

    def open(self) -> BinaryIO:
        """The bytes as they are on disk, once `sync` was called."""
        return self.path.open("rb")

    def keep(self) -> str:
        """Make the bytes durable in the store and return their fingerprint. See `ArtifactStore.keep`."""
        return self._keep(self)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def staging_folder(path: Path) -> Path:
    """The folder of a machine in which uploads grow, made where it is not there."""
    with disk():
        private_folder(path)
    return path


def private_folder(path: Path) -> None:
    """Create `path` and its missing parents with mode 0700. Ignores the umask."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


@dataclass(frozen=True, slots=True)
class LeftOver:
    path: Path
    size: int
    modified_at: datetime


def left_over(folder: Path, before: datetime) -> Iterator[LeftOver]:
    """Files that nobody has written to since `before`: their process has died. What vanishes meanwhile is left out."""
    with disk():
        paths = sorted(folder.iterdir()) if folder.exists() else []
    for path in paths:
        found = _seen(path)
        if found is not None and found.modified_at < before:
            yield found


def _seen(path: Path) -> LeftOver | None:
    with disk():
        try:
            seen = path.stat()
        except FileNotFoundError:  # kept or discarded meanwhile
            return None
    return LeftOver(path, seen.st_size, datetime.fromtimestamp(seen.st_mtime, UTC)) if S_ISREG(seen.st_mode) else None
