"""`coordinator restore FOLDER`: restores a backup into an empty database."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from coordinator.backups.restoration import restore
from tenancy.audit.acts import Act
from tenancy.management import base


class Command(base.Command):
    help = (
        "Restore a backup into an empty database and the artifact store. Verifies all checksums first. Run it as the"
        " owner, with the settings of the installation that made the backup, before its processes start."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--allow-missing-artifacts",
            action="store_true",
            help="restore although artifacts are missing; their releases wait until the bytes are uploaded again",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"].absolute()
        restored = restore(folder, allow_missing=options["allow_missing_artifacts"])
        found = restored.manifest
        missing = len(restored.missing)
        self.record(Act.BACKUP_RESTORE, "backup", folder.name, snapshot=found.created_at, missing=missing)
        self.stdout.write(
            f"The database is that of {found.created_at}, with {restored.blobs} artifacts."
            " Empty the broker, then start the processes: what was in flight runs again."
        )
