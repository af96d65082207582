"""`coordinator move_artifacts --source local --target s3`: copies all blobs from one artifact store to another."""

from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from releases.artifacts.relocation import Result, relocate
from releases.artifacts.store import configured_store
from releases.errors import ArtifactStoreUnavailable
from tenancy.audit.acts import Act
from tenancy.management import base


class Command(base.Command):
    help = "Copy all blobs from one artifact store to another. It may be interrupted and run again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        for end in ("source", "target"):
            parser.add_argument(f"--{end}", choices=("local", "s3", "gcs", "azure"), required=True)
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
            self.record(Act.ARTIFACTS_MOVE, "artifact_store", f"{source}/{target}", **done)
            self.stdout.write(f"{summary or 'nothing to copy'}; {size} bytes copied")
        if counts[Result.DAMAGED]:
            raise CommandError(f"{counts[Result.DAMAGED]} blobs of the source do not match their digest.")
