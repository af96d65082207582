"""`manage.py move_artifacts --source local --target s3`: copies all blobs from one artifact store to another."""

from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from releases.artifacts.relocation import Outcome, relocate
from releases.artifacts.store import store_named
from releases.errors import ArtifactStoreUnavailable


class Command(BaseCommand):
    help = "Copy all blobs from one artifact store to the other. May be stopped and begun again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        for end in ("source", "target"):
            parser.add_argument(f"--{end}", choices=("local", "s3"), required=True)
        parser.add_argument("--remove", action="store_true", help="take each blob away here once it is read back there")

    def handle(self, *args: Any, **options: Any) -> None:
        source, target = options["source"], options["target"]
        if source == target:
            raise CommandError("Source and target are the same store.")
        if "s3" in (source, target) and not settings.S3_BUCKET:
            raise CommandError("S3_BUCKET is not set.")
        if options["remove"] and source == settings.ARTIFACT_STORE:
            raise CommandError("The coordinator uses this store: set ARTIFACT_STORE to the other one first.")
        counts: Counter[Outcome] = Counter()
        size = 0
        try:
            for moved in relocate(store_named(source), store_named(target), remove=options["remove"]):
                counts[moved.outcome] += 1
                size += moved.size if moved.outcome is Outcome.COPIED else 0
                if options["verbosity"] > 1 or moved.outcome is Outcome.DAMAGED:
                    self.stdout.write(f"{moved.digest} {moved.outcome.value}")
        except ArtifactStoreUnavailable as error:
            raise CommandError(f"{error.detail} Begin again: what is there is not copied again.") from error
        finally:
            told = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items())
            self.stdout.write(f"{told or 'nothing to copy'}; {size} bytes copied")
        if counts[Outcome.DAMAGED]:
            raise CommandError(f"{counts[Outcome.DAMAGED]} blobs have another digest than their name.")
