"""The content-addressed store of executable artifacts, on local disk (wire protocol A.4).

Bytes are hashed as they stream in and land under their own digest, so a write is idempotent and survives a rollback
of whatever row was to name it. Nothing here knows the database.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from coordinator.errors import PayloadTooLarge

CHUNK = 64 * 1024


class StagedBlob:
    """Bytes on their way in: `write` them, then `keep` or `discard`. Memory stays constant at any size.

    `write` raises `PayloadTooLarge` beyond `limit` bytes, after which only `discard` makes sense.
    """

    def __init__(self, store: "LocalArtifactStore", limit: int) -> None:
        self._store = store
        self._limit = limit
        self._hash = hashlib.sha256()
        descriptor, name = tempfile.mkstemp(dir=store.staging)
        self._file = os.fdopen(descriptor, "wb")
        self.path = Path(name)
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise PayloadTooLarge(f"An artifact may have at most {self._limit} bytes.", limit=self._limit)
        self._hash.update(chunk)
        self._file.write(chunk)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def keep(self) -> str:
        """Make the bytes durable at their digest and return their fingerprint.

        A sound blob that is already there is verified and left alone; a damaged one is replaced.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        fingerprint = self._store.verified_fingerprint(self.digest)
        if fingerprint is not None:
            self.discard()
            return fingerprint
        self.path.chmod(0o444)
        target = self._store.path(self.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        for directory in (target.parent, target.parent.parent, self._store.root):
            _fsync_directory(directory)
        return _fingerprint(target.stat())

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class LocalArtifactStore:
    """Blobs as files at `<root>/sha256/<first two hex digits>/<hex>`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"
        self.staging.mkdir(parents=True, exist_ok=True)

    def stage(self, limit: int) -> StagedBlob:
        return StagedBlob(self, limit)

    def path(self, digest: str) -> Path:
        hexadecimal = digest.removeprefix("sha256:")
        if len(hexadecimal) != 64 or not set(hexadecimal) <= set("0123456789abcdef"):
            raise ValueError("not a sha256 digest")
        return self.root / "sha256" / hexadecimal[:2] / hexadecimal

    def open(self, digest: str) -> BinaryIO | None:
        """The bytes, unverified, or None where there are none."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            return None

    def fingerprint(self, digest: str) -> str | None:
        """What tells cheaply whether the bytes may have changed since they were hashed; None where there are none.

        The change time is in it, which no program can set back: an alteration of any kind shows.
        """
        try:
            return _fingerprint(self.path(digest).stat())
        except FileNotFoundError:
            return None

    def verified_fingerprint(self, digest: str) -> str | None:
        """Hash the bytes: their fingerprint where they are what the digest says, else None."""
        try:
            with self.path(digest).open("rb") as file:
                before = _fingerprint(os.fstat(file.fileno()))
                actual = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
                return before if actual == digest and _fingerprint(os.fstat(file.fileno())) == before else None
        except FileNotFoundError:
            return None


def artifact_store() -> LocalArtifactStore:
    """The store that the settings name."""
    return LocalArtifactStore(settings.ARTIFACT_ROOT)


def _fingerprint(stat: os.stat_result) -> str:
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_dev}:{stat.st_ino}"


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
