"""`coordinator scrub_artifacts`: reads the stored blobs that are due, or all, and prints those that are wrong."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from releases.artifacts import blobs
from releases.models import Blob


class Command(BaseCommand):
    help = "Read the blobs that are due, or all of them, and compare their bytes with their digests."

    def add_arguments(self, parser: CommandParser) -> None:
        scope = parser.add_mutually_exclusive_group()
        scope.add_argument("--all", action="store_true", help="check all blobs, also those that are not due")
        scope.add_argument(
            "--heal",
            action="store_true",
            help="check only damaged and missing blobs, and take those that are sound back from quarantine",
        )
        parser.add_argument(
            "--accept-damage",
            action="store_true",
            help="record damaged and missing blobs even if their number suggests that the store is at fault",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[str] = Counter()
        scope = blobs.Scope.UNSOUND if options["heal"] else blobs.Scope.ALL if options["all"] else blobs.Scope.DUE
        for checked in blobs.scrub(float("inf"), scope, accept_damage=options["accept_damage"]):
            counts[checked.state or "WITHOUT A VERDICT"] += 1
            if checked.state != Blob.State.SOUND or options["heal"]:
                self.stdout.write(f"{checked.digest} {checked.state or checked.reason}")
        self.stdout.write(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no blob is due")
        if counts.total() != counts[Blob.State.SOUND]:
            raise CommandError("Not all blobs are sound.")
