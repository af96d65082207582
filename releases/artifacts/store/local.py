"""The artifact store of one host: blobs as files (wire protocol A.4)."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from django.core.files.storage import FileSystemStorage
from django.utils.module_loading import import_string

from releases.artifacts.store.base import CHUNK, PART_CHUNK, ArtifactStore, BlobStat, StoredBlob, hexadecimal, misread
from releases.artifacts.store.staging import StagedBlob, disk, private_folder, staging_folder
from releases.errors import ArtifactStoreUnavailable

MARKER = ".artifact-store"
"""The file in the root that distinguishes the store's folder from the empty folder of an unmounted disk."""


class LocalArtifactStore(ArtifactStore, FileSystemStorage):
    """Blobs at `<location>/sha256/<first two hex digits>/<hex>`, read-only, created by an atomic rename.

    Only the account of the process can access the folders and files that it creates.

    A location without `MARKER` is no store: every method raises `ArtifactStoreUnavailable` instead of finding blobs
    absent or writing to the wrong disk. The first use makes it a store if the function with the dotted path
    `may_set_up` returns True.
    """

    is_remote = False

    def __init__(self, location: Path | str, may_set_up: str | None = None) -> None:
        super().__init__(location)
        self.root = Path(location).absolute()
        self.staging = self.root / "staging"
        self._may_set_up = may_set_up

    def set_up(self) -> None:
        with disk():
            private_folder(self.staging)
            (self.root / MARKER).touch(mode=0o600)
            (self.root / MARKER).chmod(0o600)

    def stage(self, limit: int) -> StagedBlob:
        self._require_store()
        return StagedBlob(staging_folder(self.staging), limit, self.keep)

    def file(self, digest: str) -> Path:
        """Return the path of the bytes, whether they exist or not."""
        return self.root / self.key(digest)

    def key(self, digest: str) -> str:
        digits = hexadecimal(digest)
        return f"sha256/{digits[:2]}/{digits}"

    def address(self, digest: str) -> str:
        return self.file(digest).as_uri()

    def keep(self, staged: StagedBlob) -> str:
        staged.sync()
        present = self.verified(staged.digest)
        if present is not None:
            staged.discard()
            return present.fingerprint
        target = self.file(staged.digest)
        self._require_store()
        with disk():
            staged.path.chmod(0o400)
        self._place(staged.path, target)
        with disk():
            return _blob_stat(target.stat()).fingerprint

    def _place(self, path: Path, target: Path) -> None:
        with disk():
            private_folder(target.parent)
            path.replace(target)
            for directory in (target.parent, target.parent.parent, self.root):
                _fsync_directory(directory)

    def read(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BinaryIO | None:
        return self._open(self.file(digest))

    def _open(self, path: Path) -> BinaryIO | None:
        with disk():
            try:
                return path.open("rb")
            except FileNotFoundError:
                self._require_store()
                return None

    def part(self, digest: str, start: int, stop: int) -> Iterator[bytes]:
        file = self.read(digest)
        if file is None:
            return
        with file:
            with disk():
                file.seek(start)
            while start < stop:
                with disk():
                    chunk = file.read(min(PART_CHUNK, stop - start))
                if not chunk:
                    return
                yield chunk
                start += len(chunk)

    def stat(self, digest: str) -> BlobStat | None:
        """The fingerprint contains the change time, which no program can set back: it shows every alteration."""
        path = self.file(digest)
        with disk():
            try:
                return _blob_stat(path.stat())
            except FileNotFoundError:
                self._require_store()
                return None

    def is_rewritten(self, before: str, now: str) -> bool:
        """Compare the times of modification and the inodes. `chmod` changes neither, nor does a new mount."""
        old, new = before.split(":"), now.split(":")
        return len(old) == len(new) and (old[1], old[4]) != (new[1], new[4])

    def verified(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BlobStat | None:
        stat, matches = self._compare(self.file(digest), digest, while_reading)
        return stat if matches else None

    def _compare(
        self, path: Path, digest: str, while_reading: Callable[[], object] = lambda: None
    ) -> tuple[BlobStat | None, bool]:
        """Read a file. Return its metadata, and True if its bytes have the digest.

        Raises `ArtifactStoreUnavailable` if the file changes meanwhile, or ends early.
        """
        file = self._open(path)
        if file is None:
            return None, False
        with disk(), file:
            before = _blob_stat(os.fstat(file.fileno()))
            actual = hashlib.sha256()
            while chunk := file.read(CHUNK):
                actual.update(chunk)
                while_reading()
            if file.tell() != before.size or _blob_stat(os.fstat(file.fileno())) != before:
                raise misread(digest)
        return before, f"sha256:{actual.hexdigest()}" == digest

    def list(self) -> Iterator[StoredBlob]:
        self._require_store()
        with disk():
            folders = sorted((self.root / "sha256").glob("??"))
        for folder in folders:
            with disk():
                paths = sorted(folder.iterdir())
            for path in paths:
                stored = _stored(path)
                if stored is not None:
                    yield stored

    def remove(self, digest: str) -> None:
        self._require_store()
        path = self.file(digest)
        with disk():
            path.unlink(missing_ok=True)

    def quarantine(self, digest: str) -> str | None:
        self._require_store()
        path = self.file(digest)
        now = datetime.now(UTC)
        target = self.root / "quarantine" / f"{path.name}-{now:%Y%m%dT%H%M%S%fZ}"
        stat, matches = self._compare(path, digest)
        if matches:
            raise misread(digest)
        if stat is None:
            return None
        with disk():
            private_folder(target.parent)
            path.rename(target)
        return str(target.relative_to(self.root))

    def restore(self, digest: str) -> BlobStat | None:
        target = self.file(digest)
        with disk():
            found = sorted((self.root / "quarantine").glob(f"{target.name}-*"))
        for path in found:
            if self._compare(path, digest)[1]:
                self._place(path, target)
                return self.stat(digest)
        return None

    def _require_store(self) -> None:
        with disk():
            found = (self.root / MARKER).is_file()
        if found:
            return
        if self._may_set_up is None or not import_string(self._may_set_up)():
            raise ArtifactStoreUnavailable(
                f"The artifact store is not in its folder: there is no file {MARKER}. Is the disk mounted?"
            )
        self.set_up()


def _stored(path: Path) -> StoredBlob | None:
    digest = f"sha256:{path.name}"
    try:
        hexadecimal(digest)
    except ValueError:  # not a file of this store
        return None
    with disk():
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed meanwhile
            return None
    return StoredBlob(digest, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def _blob_stat(stat: os.stat_result) -> BlobStat:
    tag = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_dev}:{stat.st_ino}"
    return BlobStat(stat.st_size, tag)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
