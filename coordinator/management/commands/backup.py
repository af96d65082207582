"""`coordinator backup FOLDER`: writes the database, and the artifacts of a local store, into a new folder."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from coordinator import database_guard
from coordinator.backups.creation import create
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

    @database_guard.during_command()
    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"].absolute()
        made = create(folder)
        found = made.manifest
        counts = {"blobs": found.blob_count, "missing": found.blobs_missing}
        self.record(Act.BACKUP_CREATE, "backup", folder.name, snapshot=found.created_at, **counts)
        where = "in the backup" if found.blobs_included else f"that stay in the store ({found.store})"
        self.stdout.write(
            f"{folder}: the database of {found.created_at}, and {found.blob_count} artifacts of"
            f" {found.blob_bytes:,} bytes {where}"
        )
        if made.unreadable:
            raise CommandError(
                f"The backup lacks {found.blobs_missing} artifacts that are missing or damaged in the store:"
                f" {', '.join(made.unreadable[:5])}{', and others' if found.blobs_missing > 5 else ''}. Run coordinator"
                " scrub_artifacts --all, upload their releases again, and keep earlier backups until then.",
                returncode=INCOMPLETE,
            )
