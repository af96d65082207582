"""`coordinator backup FOLDER`: writes the database, and the artifacts of a local store, into a new folder."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from coordinator import backups
from coordinator.backups import BLOBS, DUMP, Blob, File, HashingFile, Manifest
from coordinator.monitoring import process
from releases.artifacts import blob_lock
from releases.artifacts.store import ArtifactStore, artifact_store, private_folder, sync_folder
from tenancy.audit.acts import Act
from tenancy.management import base

INCOMPLETE = 3
"""The exit status if there is a backup, but it lacks artifacts."""


class Command(base.Command):
    help = (
        "Write the database, and the artifacts of a local store, into a new folder. Run it as the owner of the tables,"
        " while the processes run. It contains no settings: keep SECRET_KEY, WORKER_SECRET and the others elsewhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="must not exist; it appears when the backup is complete")

    @process.during_command()
    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"].absolute()
        manifest, unreadable = create(folder)
        counts = {"blobs": manifest.blob_count, "missing": manifest.blobs_missing}
        self.record(Act.BACKUP_CREATE, folder.name, snapshot=manifest.created_at, **counts)
        where = "in the backup" if manifest.blobs_included else f"that stay in the store ({manifest.store})"
        self.stdout.write(
            f"{folder}: the database of {manifest.created_at}, and {manifest.blob_count} artifacts of"
            f" {manifest.blob_bytes:,} bytes {where}"
        )
        if unreadable:
            raise CommandError(
                f"The backup lacks {manifest.blobs_missing} artifacts that are missing or damaged in the store:"
                f" {', '.join(unreadable[:5])}{', and others' if manifest.blobs_missing > 5 else ''}. Run coordinator"
                " scrub_artifacts --all, upload their releases again, and keep earlier backups until then.",
                returncode=INCOMPLETE,
            )


_ROWS = 1000
_WAIT_SECONDS = 5.0
# Also blobs that are known to be damaged or missing, if a release needs them: the store may have their bytes again.
_BLOBS = """
SELECT digest, size FROM releases_blob b WHERE state = 'SOUND' OR state <> 'REMOVED' AND EXISTS (
    SELECT FROM releases_artifact a JOIN releases_release r ON r.id = a.release_id
    WHERE a.blob_id = b.digest AND r.status NOT IN ('REJECTED', 'RETIRED'))
ORDER BY digest
"""


def create(target: Path) -> tuple[Manifest, list[str]]:
    """Make a backup in the new folder `target`. Raises `CommandError` or `ArtifactStoreUnavailable`, and leaves none.

    Return what it contains, and the digests of blobs that it lacks, because the store has lost them. The database is
    that of one moment. Blobs never change, and none is removed meanwhile. Those of a store of this host are copied.
    Those of a storage server are only listed, and their sizes are compared.
    """
    unfinished = _begin(target)
    try:
        with blob_lock.no_removals(timeout=_WAIT_SECONDS) as held:
            if not held:
                raise CommandError("Another backup of this installation is running.")
            made = _fill(unfinished)
        unfinished.rename(target)
        sync_folder(target.parent)
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


def _fill(folder: Path) -> tuple[Manifest, list[str]]:
    store = artifact_store()
    with _snapshot() as (database, snapshot):
        applied = database.execute("SELECT app, name FROM django_migrations ORDER BY id")
        migrations = [f"{app}.{name}" for app, name in applied]
        [created_at] = database.execute("SELECT now()::text").fetchone() or [""]
        listed = _list_blobs(database, folder, store)
        dumped = backups.write_dump(database, snapshot, folder / DUMP)
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
    backups.write(folder, made)
    sync_folder(folder)
    return made, unreadable


@contextmanager
def _snapshot() -> Iterator[tuple[psycopg.Connection, str]]:
    """Yield a connection in a transaction that reads one snapshot, and the name by which others can read it, too.

    It leads to the server of Django's connection, which `during_command` has accepted.
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
    file = HashingFile(folder / BLOBS)
    with database.cursor("blobs") as rows:
        rows.itersize = _ROWS
        for digest, size in rows.execute(_BLOBS):
            blob = Blob(digest=digest, size=size, key=store.key(digest))
            file.write(json.dumps(blob.model_dump()).encode() + b"\n")
    return file.finish()


def _copy_all(folder: Path, store: ArtifactStore) -> tuple[int, int, list[str]]:
    """Copy each blob, or look it up in a remote store.

    Return the number and the size of those that are as recorded, and the digests of the others.
    """
    count, total, unreadable = 0, 0, list[str]()
    for blob in backups.blobs(folder):
        if store.is_remote:
            stat = store.stat(blob.digest)
            sound = stat is not None and stat.size == blob.size
        else:
            sound = _copy(folder, store, blob) or _copy(folder, store, blob)  # one wrong read proves nothing
        if sound:
            count, total = count + 1, total + blob.size
        else:
            unreadable.append(blob.digest)
    return count, total, unreadable


def _copy(folder: Path, store: ArtifactStore, blob: Blob) -> bool:
    """Copy one blob. Return False, and keep no copy, if its bytes do not have the digest."""
    source = store.read(blob.digest)
    if source is None:
        return False
    path = backups.blob_path(folder, blob.digest)
    private_folder(path.parent)
    with source:
        copy = HashingFile(path)
        while chunk := source.read(backups.CHUNK):
            copy.write(chunk)
        sound = f"sha256:{copy.finish().sha256}" == blob.digest
    if not sound:
        path.unlink()
    return sound
