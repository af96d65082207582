"""The artifact store of one host: blobs as files (wire protocol A.4)."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from releases.artifacts.store.direct import DirectUploads
from releases.artifacts.store.staging import StagedBlob, disk, private_folder, staging_folder
from releases.artifacts.store.store import CHUNK, Seen, Stored, hexadecimal
from releases.errors import ArtifactStoreUnavailable

MARKER = ".artifact-store"
"""The file in the root that distinguishes the store's folder from the empty folder of an unmounted disk."""


class LocalArtifactStore:
    """Blobs at `<root>/sha256/<first two hex digits>/<hex>`, read-only, put there by an atomic rename.

    Only the account of the process can access the folders and files that it creates.

    A root without `MARKER` is no store: every method raises `ArtifactStoreUnavailable` instead of finding blobs absent
    or writing to the wrong disk. If `may_set_up` says so, the first use makes the store instead.
    """

    is_remote = False
    direct: DirectUploads | None = None

    def __init__(self, root: Path, may_set_up: Callable[[], bool] = lambda: False) -> None:
        self.root = root
        self.staging = root / "staging"
        self._may_set_up = may_set_up

    def set_up(self) -> None:
        with disk():
            private_folder(self.staging)
            (self.root / MARKER).touch(mode=0o600)
            (self.root / MARKER).chmod(0o600)

    def stage(self, limit: int) -> StagedBlob:
        self._require_store()
        return StagedBlob(staging_folder(self.staging), limit, self.keep)

    def path(self, digest: str) -> Path:
        digits = hexadecimal(digest)
        return self.root / "sha256" / digits[:2] / digits

    def key(self, digest: str) -> str:
        return str(self.path(digest).relative_to(self.root))

    def address(self, digest: str) -> str:
        return self.path(digest).absolute().as_uri()

    def keep(self, staged: StagedBlob) -> str:
        staged.sync()
        there = self.verified(staged.digest)
        if there is not None:
            staged.discard()
            return there.fingerprint
        target = self.path(staged.digest)
        self._require_store()
        with disk():
            staged.path.chmod(0o400)
            private_folder(target.parent)
            staged.path.replace(target)
            for directory in (target.parent, target.parent.parent, self.root):
                _fsync_directory(directory)
            return _seen(target.stat()).fingerprint

    def open(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BinaryIO | None:
        path = self.path(digest)
        with disk():
            try:
                return path.open("rb")
            except FileNotFoundError:
                self._require_store()
                return None

    def look(self, digest: str) -> Seen | None:
        """The change time is in the fingerprint, which no program can set back: an alteration of any kind shows."""
        path = self.path(digest)
        with disk():
            try:
                return _seen(path.stat())
            except FileNotFoundError:
                self._require_store()
                return None

    def verified(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> Seen | None:
        file = self.open(digest)
        if file is None:
            return None
        with disk(), file:
            before = _seen(os.fstat(file.fileno()))
            actual = hashlib.sha256()
            while chunk := file.read(CHUNK):
                actual.update(chunk)
                while_reading()
            return (
                before
                if f"sha256:{actual.hexdigest()}" == digest and _seen(os.fstat(file.fileno())) == before
                else None
            )

    def list(self) -> Iterator[Stored]:
        self._require_store()
        with disk():
            folders = sorted((self.root / "sha256").glob("??"))
        for folder in folders:
            with disk():
                paths = sorted(folder.iterdir())
            for path in paths:
                found = _stored(path)
                if found is not None:
                    yield found

    def remove(self, digest: str) -> None:
        self._require_store()
        path = self.path(digest)
        with disk():
            path.unlink(missing_ok=True)

    def quarantine(self, digest: str) -> str | None:
        self._require_store()
        path = self.path(digest)
        now = datetime.now(UTC)
        target = self.root / "quarantine" / f"{path.name}-{now:%Y%m%dT%H%M%S%fZ}"
        with disk():
            private_folder(target.parent)
            try:
                path.rename(target)
            except FileNotFoundError:
                return None
        return str(target.relative_to(self.root))

    def _require_store(self) -> None:
        with disk():
            found = (self.root / MARKER).is_file()
        if found:
            return
        if not self._may_set_up():
            raise ArtifactStoreUnavailable(
                f"The artifact store is not in its folder: there is no file {MARKER}. Is the disk mounted?"
            )
        self.set_up()


def _stored(path: Path) -> Stored | None:
    digest = f"sha256:{path.name}"
    try:
        hexadecimal(digest)
    except ValueError:  # nothing that this store has put there
        return None
    with disk():
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed meanwhile
            return None
    return Stored(digest, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def _seen(stat: os.stat_result) -> Seen:
    tag = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_dev}:{stat.st_ino}"
    return Seen(stat.st_size, tag)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
