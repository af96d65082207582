"""The manifest of a backup: what it contains, with checksums. It is written last."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from django.core.management import CommandError
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

NAME = "manifest.json"
DUMP = "database.dump"
BLOBS = "blobs.jsonl"
BLOB_FOLDER = "blobs"
CHUNK = 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class File(_Part):
    """The SHA-256, in hexadecimal, and the size in bytes of a file of the backup."""

    sha256: str
    size: int


class Blob(_Part):
    """One line of `blobs.jsonl`: a blob that the database names. `key` is its name in the artifact store."""

    digest: str
    size: int
    key: str


class Manifest(_Part):
    """The contents of a backup.

    `blob_count` and `blob_bytes` do not count the `blobs_missing`, which the store had lost. `blobs.jsonl` lists all.
    `version` and `migrations` are those of the coordinator, and `postgresql` is the server's major version. With
    `blobs_included`, the backup contains the bytes of the blobs; without it, they are in the artifact store `store`.
    """

    format: Literal[1] = 1
    version: str
    created_at: str
    postgresql: int
    migrations: list[str]
    store: str
    blobs_included: bool
    blob_count: int
    blob_bytes: int
    blobs_missing: int = 0
    files: dict[str, File]


class HashingFile:
    """Writes a new file that only this account can read, and hashes what it writes."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hash.update(chunk)
        self._size += len(chunk)

    def finish(self) -> File:
        """Flush every byte to the disk, and return what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return File(sha256=self._hash.hexdigest(), size=self._size)


def write(folder: Path, manifest: Manifest) -> None:
    file = HashingFile(folder / NAME)
    file.write(manifest.model_dump_json(by_alias=True, indent=2).encode())
    file.finish()


def read(folder: Path) -> Manifest:
    """Return the manifest of a backup whose files match it. Reads them completely. Raises `CommandError`."""
    try:
        manifest = Manifest.model_validate_json((folder / NAME).read_bytes())
    except OSError as error:
        raise CommandError(f"{folder} is no backup: its {NAME} cannot be read ({error.strerror}).") from error
    except ValidationError as error:
        raise CommandError(f"The {NAME} of this backup is damaged, or a newer version wrote it.") from error
    for name in (DUMP, BLOBS):
        if name not in manifest.files or _measured(folder / name) != manifest.files[name]:
            raise CommandError(f"The backup is damaged: {name} does not match {NAME}.")
    return manifest


def blobs(folder: Path) -> Iterator[Blob]:
    """Yield the blobs that the database of a backup names, in the order of their digests."""
    with (folder / BLOBS).open("rb") as lines:
        for line in lines:
            yield Blob.model_validate_json(line)


def blob_path(folder: Path, digest: str) -> Path:
    """Return the path of the bytes of a blob in a backup."""
    digits = digest.removeprefix("sha256:")
    return folder / BLOB_FOLDER / digits[:2] / digits


def hexadecimal_digest(file: BinaryIO) -> str:
    """Read the rest of the file, and return its SHA-256."""
    found = hashlib.sha256()
    while chunk := file.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()


def _measured(path: Path) -> File | None:
    try:
        with path.open("rb") as file:
            return File(sha256=hexadecimal_digest(file), size=file.tell())
    except FileNotFoundError:
        return None
