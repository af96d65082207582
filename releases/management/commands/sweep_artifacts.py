"""`coordinator sweep_artifacts`: prints which stored bytes no release needs, and removes them with --remove."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from releases.artifacts import retention
from tenancy.audit.acts import Act
from tenancy.management import base


class Command(base.Command):
    help = "Print which stored bytes no release needs (a dry run, the default), or remove them."

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--dry-run", action="store_true", help="only print what would be removed (the default)")
        mode.add_argument("--remove", action="store_true", help="remove it")
        parser.add_argument(
            "--older-than-hours",
            type=float,
            default=settings.ORPHAN_HOURS,
            help="keep younger bytes, which may belong to a running upload (default: ORPHAN_HOURS)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["older_than_hours"] < 0:
            raise CommandError("The age cannot be negative.")
        age = timedelta(hours=options["older_than_hours"])
        count = size = 0
        orphans = retention.orphans(age)
        for orphan in retention.remove(orphans, age) if options["remove"] else orphans:
            count, size = count + 1, size + orphan.size
            self.stdout.write(f"{orphan.name}  {orphan.size} bytes  since {orphan.since:%F %T}  {orphan.why.value}")
        if options["remove"]:
            self.record(
                Act.ARTIFACTS_REMOVE, settings.ARTIFACT_STORE, object_type="artifact_store", files=count, bytes=size
            )
        done = "were removed" if options["remove"] else "would be removed. Use --remove to remove them"
        self.stdout.write(f"{count} files of {size} bytes {done}")
