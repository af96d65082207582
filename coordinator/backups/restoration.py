"""Restores a backup into an empty database. The database is restored completely or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.core.management import CommandError, call_command
from django.db import connection

from coordinator import boot_checks
from coordinator.backups import manifest, programs
from coordinator.backups.manifest import DUMP, Blob, Manifest
from releases.artifacts import blobs
from releases.artifacts.store import ArtifactStore, artifact_store

_MOST_NAMED = 5
_RELATIONS = """
SELECT count(*) FROM pg_class c WHERE relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored. `missing` has the digests of blobs that are neither in the backup nor in the store.

    `blobs` is the number of the others.
    """

    manifest: Manifest
    missing: tuple[str, ...]
    blobs: int


def restore(source: Path, *, allow_missing: bool = False) -> Restored:
    """Restore the backup `source` into the database and the artifact store of the settings.

    Verifies all checksums before it changes anything. Then come the blobs, and the database last, in one transaction.
    If it is older than this version, it is migrated. Sessions are not restored. Leases of the backup have run out, so
    that what was in flight runs again.

    Raises `CommandError` or `ArtifactStoreUnavailable`, and then the database is still empty. With `allow_missing`,
    blobs may be missing: their releases refuse submissions until the bytes are uploaded again.
    """
    found = manifest.read(source)
    _require_known(found)
    _require_empty()
    store = artifact_store()
    missing = tuple(_missing(source, found, store))
    if missing and not allow_missing:
        more = ", and others" if len(missing) > _MOST_NAMED else ""
        raise CommandError(f"{len(missing)} blobs are missing or damaged: {', '.join(missing[:_MOST_NAMED])}{more}.")
    store.set_up()
    kept = {}
    if found.blobs_included:
        for blob in manifest.blobs(source):
            if blob.digest not in missing:
                kept[blob.digest] = blob.size, _keep(source, store, blob)
    connection.ensure_connection()
    programs.restore(connection.connection, source / DUMP)
    call_command("migrate", verbosity=0)
    for digest, (size, fingerprint) in kept.items():
        blobs.record_sound(digest, size=size, fingerprint=fingerprint)
    return Restored(found, missing, sum(1 for _ in manifest.blobs(source)) - len(missing))


def _require_known(found: Manifest) -> None:
    """Raise `CommandError` if a newer version made the backup."""
    known = {f"{app}.{name}" for app, name in boot_checks.shipped()}
    if unknown := [name for name in found.migrations if name not in known]:
        raise CommandError(
            f"Version {found.version} made this backup, and this version does not know its migration {unknown[0]}."
            " Restore it with that version or a later one."
        )


def _require_empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS)
        [count] = cursor.fetchone()
    if count:
        raise CommandError("The database is not empty. Create a new one with coordinator setup_database.")


def _missing(source: Path, found: Manifest, store: ArtifactStore) -> Iterator[str]:
    """Yield the digests of blobs whose bytes are not in the backup, or not in the store if it does not include any."""
    for blob in manifest.blobs(source):
        if found.blobs_included:
            present = _is_sound(manifest.blob_path(source, blob.digest), blob)
        else:
            stat = store.stat(blob.digest)
            present = stat is not None and stat.size == blob.size
        if not present:
            yield blob.digest


def _is_sound(path: Path, blob: Blob) -> bool:
    try:
        with path.open("rb") as file:
            return f"sha256:{manifest.hexadecimal_digest(file)}" == blob.digest
    except FileNotFoundError:
        return False


def _keep(source: Path, store: ArtifactStore, blob: Blob) -> str:
    """Store one blob of the backup, unless the store has its bytes, and return their fingerprint."""
    staged = store.stage(limit=blob.size + 1)
    try:
        with manifest.blob_path(source, blob.digest).open("rb") as file:
            while chunk := file.read(manifest.CHUNK):
                staged.write(chunk)
        return staged.keep()
    finally:
        staged.discard()
