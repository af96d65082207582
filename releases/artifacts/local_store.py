"""The artifact store of one host: blobs as files."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from django.core.files.storage import FileSystemStorage
from django.utils.module_loading import import_string

from releases.artifacts.store import (
    CHUNK,
    PART_CHUNK,
    ArtifactStore,
    BlobStat,
    StagedBlob,
    disk,
    hexadecimal,
    misread,
    private_folder,
    sync_folder,
)
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
    write_marks = (1, 4)  # the time of modification and the inode: neither chmod nor a new mount changes them

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
        return super().stage(limit)

    def file(self, digest: str) -> Path:
        """Return the path of the bytes, whether they exist or not."""
        return self.root / self.key(digest)

    def key(self, digest: str) -> str:
        digits = hexadecimal(digest)
        return f"sha256/{digits[:2]}/{digits}"

    def address(self, digest: str) -> str:
        return self.file(digest).as_uri()

    def name_of(self, *segments: str) -> str:
        return "/".join(segments)

    def requests(self) -> AbstractContextManager[None]:
        return disk()

    def _upload(self, key: str, staged: StagedBlob, *, once: bool) -> bool:
        target = self.root / key
        if once and target.exists():
            return False
        self._require_store()
        staged.path.chmod(0o400)
        self._place(staged.path, target)
        return True

    def _place(self, path: Path, target: Path) -> None:
        private_folder(target.parent)
        path.replace(target)
        for directory in (target.parent, target.parent.parent, self.root):
            sync_folder(directory)

    def read(self, digest: str, while_reading: Callable[[], object] = lambda: None) -> BinaryIO | None:
        with disk():
            return self._open(self.file(digest))

    def _open(self, path: Path) -> BinaryIO | None:
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

    def _head(self, key: str) -> BlobStat | None:
        """The fingerprint contains the change time, which no program can set back: it shows every alteration."""
        try:
            return _blob_stat((self.root / key).stat())
        except FileNotFoundError:
            self._require_store()
            return None

    def _get(self, key: str) -> tuple[BlobStat, Iterator[bytes]] | None:
        file = self._open(self.root / key)
        if file is None:
            return None
        return _blob_stat(os.fstat(file.fileno())), _chunks(file)

    def _objects(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        self._require_store()
        for folder in sorted((self.root / prefix).glob("??")):
            for path in sorted(folder.iterdir()):
                try:
                    stat = path.stat()
                except FileNotFoundError:  # removed meanwhile
                    continue
                yield str(path.relative_to(self.root)), stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)

    def _delete(self, key: str) -> None:
        self._require_store()
        (self.root / key).unlink(missing_ok=True)

    def quarantine(self, digest: str) -> str | None:
        self._require_store()
        key, target = self.key(digest), self.quarantine_name(digest)
        stat, matches = self._compare(key, digest)
        if matches:
            raise misread(digest)
        if stat is None:
            return None
        with disk():
            private_folder(self.root / "quarantine")
            (self.root / key).rename(self.root / target)
        return target

    def restore(self, digest: str) -> BlobStat | None:
        with disk():
            for path in sorted((self.root / "quarantine").glob(f"{hexadecimal(digest)}-*")):
                if self._compare(str(path.relative_to(self.root)), digest)[1]:
                    self._place(path, self.file(digest))
                    return self.stat(digest)
        return None

    def _require_store(self) -> None:
        with disk():
            is_marked = (self.root / MARKER).is_file()
        if is_marked:
            return
        if self._may_set_up is None or not import_string(self._may_set_up)():
            raise ArtifactStoreUnavailable(
                f"The artifact store is not in its folder: there is no file {MARKER}. Is the disk mounted?"
            )
        self.set_up()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def _blob_stat(stat: os.stat_result) -> BlobStat:
    tag = f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_dev}:{stat.st_ino}"
    return BlobStat(stat.st_size, tag)
