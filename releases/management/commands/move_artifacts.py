"""`coordinator move_artifacts --source local --target s3`: copies all blobs from one artifact store to another."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from releases.artifacts import blob_lock
from releases.artifacts.store import CHUNK, ArtifactStore, StoredBlob, configured_store, misread
from releases.errors import ArtifactStoreUnavailable
from tenancy.audit.acts import Act
from tenancy.management import base


class Result(StrEnum):
    COPIED = "copied"
    PRESENT = "already in the target"
    DAMAGED = "damaged in the source, not copied"
    GONE = "removed from the source during the copy"


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of copying one blob. `size` is in bytes."""

    digest: str
    size: int
    result: Result


def relocate(source: ArtifactStore, target: ArtifactStore, *, remove: bool = False) -> Iterator[Moved]:
    """Copy each blob of `source` to `target` and yield the result. With `remove`, then remove it from `source`.

    The bytes are hashed while they are copied, and again by a target that verifies checksums. If the target has a blob
    of the same size, the blob is not copied. With `remove`, the target's bytes are read and hashed before the blob is
    removed, and replaced if they are wrong. The copy may be interrupted and repeated at any time. Raises
    `ArtifactStoreUnavailable`; the blobs copied so far remain.
    """
    target.set_up()
    for stored in source.list():
        moved = _copy(source, target, stored)
        if remove and moved.result in {Result.COPIED, Result.PRESENT}:
            moved = _remove(source, target, stored, moved)
        yield moved


def _copy(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob) -> Moved:
    present = target.stat(stored.digest)
    if present is not None and present.size == stored.size:
        return Moved(stored.digest, stored.size, Result.PRESENT)
    file = source.read(stored.digest)
    if file is None:
        return Moved(stored.digest, stored.size, Result.GONE)
    staged = target.stage(limit=stored.size + 1)
    try:
        with file, blob_lock.shared([stored.digest]):
            while chunk := file.read(CHUNK):
                staged.write(chunk)
            if staged.digest != stored.digest:
                if source.verified(stored.digest) is not None:
                    raise misread(stored.digest)
                return Moved(stored.digest, stored.size, Result.DAMAGED)
            staged.keep()
    finally:
        staged.discard()
    return Moved(stored.digest, stored.size, Result.COPIED)


def _remove(source: ArtifactStore, target: ArtifactStore, stored: StoredBlob, moved: Moved) -> Moved:
    if target.verified(stored.digest) is None:
        target.quarantine(stored.digest)
        moved = _copy(source, target, stored)
        if moved.result is not Result.COPIED:
            return moved
    source.remove(stored.digest)
    return moved


class Command(base.Command):
    help = "Copy all blobs from one artifact store to another. It may be interrupted and run again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        for end, text in (("source", "the store that has the blobs"), ("target", "the store that gets them")):
            parser.add_argument(f"--{end}", choices=("local", "s3", "gcs", "azure"), required=True, help=text)
        parser.add_argument(
            "--remove",
            action="store_true",
            help="remove each blob from the source after it was read back from the target",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        source, target = options["source"], options["target"]
        if source == target:
            raise CommandError("Source and target are the same store.")
        for name in (source, target):
            if name not in settings.ARTIFACT_STORES:
                raise CommandError(f"The artifact store {name} is not configured.")
        if options["remove"] and source == settings.ARTIFACT_STORE:
            raise CommandError("The coordinator uses the source. Set ARTIFACT_STORE to the target first.")
        counts: Counter[Result] = Counter()
        size = 0
        try:
            for moved in relocate(configured_store(source), configured_store(target), remove=options["remove"]):
                counts[moved.result] += 1
                size += moved.size if moved.result is Result.COPIED else 0
                if options["verbosity"] > 1 or moved.result is Result.DAMAGED:
                    self.stdout.write(f"{moved.digest} {moved.result.value}")
        except ArtifactStoreUnavailable as error:
            raise CommandError(
                f"{error.detail} Run the command again: it does not copy again what the target has."
            ) from error
        finally:
            summary = ", ".join(f"{count} {result.value}" for result, count in counts.items())
            done = {"remove": options["remove"], "copied": counts[Result.COPIED], "bytes": size}
            self.record(Act.ARTIFACTS_MOVE, f"{source}/{target}", object_type="artifact_store", **done)
            self.stdout.write(f"{summary or 'nothing to copy'}; {size} bytes copied")
        if counts[Result.DAMAGED]:
            raise CommandError(f"{counts[Result.DAMAGED]} blobs of the source do not match their digest.")
