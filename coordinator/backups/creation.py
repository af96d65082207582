"""Makes a backup while processes run, without blocking any of them."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.management import CommandError
from django.db import connection

from coordinator.backups import manifest, programs
from coordinator.backups.manifest import BLOBS, DUMP, Blob, File, HashingFile, Manifest
from releases.artifacts import blob_lock
from releases.artifacts.store import ArtifactStore, artifact_store
from releases.artifacts.store.staging import private_folder

_ROWS = 1000
_WAIT_SECONDS = 5.0
# Also blobs that are known to be damaged or missing, if a release needs them: the store may have their bytes again.
_BLOBS = """
SELECT digest, size FROM releases_blob b WHERE state = 'SOUND' OR state <> 'REMOVED' AND EXISTS (
    SELECT FROM releases_artifact a JOIN releases_release r ON r.id = a.release_id
    WHERE a.blob_id = b.digest AND r.status NOT IN ('REJECTED', 'RETIRED'))
ORDER BY digest
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What a backup contains. `unreadable` has the digests of blobs that it lacks, because the store has lost them."""

    manifest: Manifest
    unreadable: tuple[str, ...]


def create(target: Path) -> Made:
    """Make a backup in the new folder `target`. Raises `CommandError` or `ArtifactStoreUnavailable`, and leaves none.

    The database is that of one moment. Blobs never change, and none is removed meanwhile. Those of a store of this
    host are copied. Those of a storage server are only listed, and their sizes are compared.
    """
    unfinished = _begin(target)
    try:
        with blob_lock.no_removals(timeout=_WAIT_SECONDS) as held:
            if not held:
                raise CommandError("Another backup of this installation is running.")
            made = _fill(unfinished)
        unfinished.rename(target)
        _sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return made


def _begin(target: Path) -> Path:
    """Return a new folder next to `target`, whose name shows that the backup is not finished."""
    if target.exists():
        raise CommandError(f"{target} exists already. A backup never overwrites anything.")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        unfinished.mkdir(mode=0o700)
    except FileExistsError:
        raise CommandError(
            f"{unfinished} exists: another backup runs, or was killed. Remove it in that case."
        ) from None
    except OSError as error:
        raise CommandError(f"{unfinished} cannot be created: {error.strerror}.") from error
    return unfinished


def _fill(folder: Path) -> Made:
    store = artifact_store()
    with _snapshot() as (database, snapshot):
        migrations = [f"{app}.{name}" for app, name in database.execute(_MIGRATIONS)]
        [created_at] = database.execute("SELECT now()::text").fetchone() or [""]
        listed = _list_blobs(database, folder, store)
        dumped = programs.dump(database, snapshot, folder / DUMP)
        server_version = database.info.server_version
    count, size, unreadable = _copy_all(folder, store)
    made = Manifest(
        version=version("durable-coordinator"),
        created_at=str(created_at),
        postgresql=server_version // 10_000,
        migrations=migrations,
        store=settings.ARTIFACT_STORE,
        blobs_included=not store.is_remote,
        blob_count=count,
        blob_bytes=size,
        blobs_missing=len(unreadable),
        files={DUMP: dumped, BLOBS: listed},
    )
    manifest.write(folder, made)
    _sync_folder(folder)
    return Made(made, unreadable)


_MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"


@contextmanager
def _snapshot() -> Iterator[tuple[psycopg.Connection, str]]:
    """Yield a connection in a transaction that reads one snapshot, and the name by which others can read it, too.

    It leads to the server of Django's connection, which `database_guard` has accepted.
    """
    connection.ensure_connection()
    server: psycopg.ConnectionInfo = connection.connection.info
    parameters = {
        **connection.get_connection_params(),
        **{"host": server.host, "hostaddr": server.hostaddr, "port": server.port},
        "cursor_factory": psycopg.Cursor,
    }
    with psycopg.connect(**parameters) as database:
        database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        database.read_only = True
        [name] = database.execute("SELECT pg_export_snapshot()").fetchone() or [""]
        yield database, str(name)


def _list_blobs(database: psycopg.Connection, folder: Path, store: ArtifactStore) -> File:
    """Write the blobs of the snapshot to a file, and return it."""
    file = HashingFile(folder / BLOBS)
    with database.cursor("blobs") as rows:
        rows.itersize = _ROWS
        for digest, size in rows.execute(_BLOBS):
            blob = Blob(digest=digest, size=size, key=store.key(digest))
            file.write(json.dumps(blob.model_dump()).encode() + b"\n")
    return file.finish()


def _copy_all(folder: Path, store: ArtifactStore) -> tuple[int, int, tuple[str, ...]]:
    """Copy each blob, or look it up in a remote store.

    Return the number and the size of those that are as recorded, and the digests of the others.
    """
    count, total, unreadable = 0, 0, list[str]()
    for blob in manifest.blobs(folder):
        if store.is_remote:
            stat = store.stat(blob.digest)
            sound = stat is not None and stat.size == blob.size
        else:
            sound = _copy(folder, store, blob) or _copy(folder, store, blob)  # one wrong read proves nothing
        if sound:
            count, total = count + 1, total + blob.size
        else:
            unreadable.append(blob.digest)
    return count, total, tuple(unreadable)


def _copy(folder: Path, store: ArtifactStore, blob: Blob) -> bool:
    """Copy one blob. Return False, and keep no copy, if its bytes do not have the digest."""
    source = store.read(blob.digest)
    if source is None:
        return False
    path = manifest.blob_path(folder, blob.digest)
    private_folder(path.parent)
    with source:
        copy = HashingFile(path)
        while chunk := source.read(manifest.CHUNK):
            copy.write(chunk)
        sound = f"sha256:{copy.finish().sha256}" == blob.digest
    if not sound:
        path.unlink()
    return sound


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
