"""`coordinator restore FOLDER`: restores a backup into an empty database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from coordinator import backups, boot_checks
from coordinator.backups import DUMP, Blob, Manifest
from releases.artifacts import blobs
from releases.artifacts.store import ArtifactStore, artifact_store
from tenancy.audit.acts import Act
from tenancy.management import base


class Command(base.Command):
    help = (
        "Restore a backup into an empty database and the artifact store. Verifies all checksums first. Run it as the"
        " owner, with the settings of the installation that made the backup, before its processes start."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the folder of the backup")
        parser.add_argument(
            "--allow-missing-artifacts",
            action="store_true",
            help="restore although artifacts are missing; their releases wait until the bytes are uploaded again",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"].absolute()
        manifest, restored, missing = restore(folder, allow_missing=options["allow_missing_artifacts"])
        self.record(Act.BACKUP_RESTORE, folder.name, snapshot=manifest.created_at, missing=missing)
        self.stdout.write(
            f"The database is that of {manifest.created_at}, with {restored} artifacts."
            " Empty the broker, then start the processes: what was in flight runs again."
        )


_MOST_NAMED = 5
_RELATIONS = """
SELECT count(*) FROM pg_class c WHERE relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
"""


def restore(source: Path, *, allow_missing: bool = False) -> tuple[Manifest, int, int]:
    """Restore the backup `source` into the database and the artifact store of the settings.

    Return what it contains, and how many blobs were restored, and how many are neither in the backup nor in the store.
    Verifies all checksums before it changes anything. Then come the blobs, and the database last, in one transaction.
    If it is older than this version, it is migrated. Sessions are not restored. Leases of the backup have run out, so
    that what was in flight runs again.

    Raises `CommandError` or `ArtifactStoreUnavailable`, and then the database is still empty. With `allow_missing`,
    blobs may be missing: their releases refuse submissions until the bytes are uploaded again.
    """
    manifest = backups.read(source)
    _require_known(manifest)
    _require_empty()
    store = artifact_store()
    missing = tuple(_missing(source, manifest, store))
    if missing and not allow_missing:
        more = ", and others" if len(missing) > _MOST_NAMED else ""
        raise CommandError(f"{len(missing)} blobs are missing or damaged: {', '.join(missing[:_MOST_NAMED])}{more}.")
    store.set_up()
    kept = {}
    if manifest.blobs_included:
        for blob in backups.blobs(source):
            if blob.digest not in missing:
                kept[blob.digest] = blob.size, _keep(source, store, blob)
    connection.ensure_connection()
    backups.restore_dump(connection.connection, source / DUMP)
    call_command("migrate", verbosity=0)
    for digest, (size, fingerprint) in kept.items():
        blobs.record_sound(digest, size=size, fingerprint=fingerprint)
    return manifest, sum(1 for _ in backups.blobs(source)) - len(missing), len(missing)


def _require_known(manifest: Manifest) -> None:
    """Raise `CommandError` if a newer version made the backup."""
    known = {f"{app}.{name}" for app, name in boot_checks.shipped()}
    if unknown := [name for name in manifest.migrations if name not in known]:
        raise CommandError(
            f"Version {manifest.version} made this backup, and this version does not know its migration {unknown[0]}."
            " Restore it with that version or a later one."
        )


def _require_empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS)
        [count] = cursor.fetchone()
    if count:
        raise CommandError("The database is not empty. Create a new one with coordinator setup_database.")


def _missing(source: Path, manifest: Manifest, store: ArtifactStore) -> Iterator[str]:
    """Yield the digests of blobs whose bytes are not in the backup, or not in the store if it does not include any."""
    for blob in backups.blobs(source):
        if manifest.blobs_included:
            file = backups.measured(backups.blob_path(source, blob.digest))
            present = file is not None and f"sha256:{file.sha256}" == blob.digest
        else:
            stat = store.stat(blob.digest)
            present = stat is not None and stat.size == blob.size
        if not present:
            yield blob.digest


def _keep(source: Path, store: ArtifactStore, blob: Blob) -> str:
    """Store one blob of the backup, unless the store has its bytes, and return their fingerprint."""
    staged = store.stage(limit=blob.size + 1)
    try:
        with backups.blob_path(source, blob.digest).open("rb") as file:
            while chunk := file.read(backups.CHUNK):
                staged.write(chunk)
        return staged.keep()
    finally:
        staged.discard()
