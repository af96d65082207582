"""`coordinator scrub_artifacts`: reads the stored blobs that are due, or all, and prints those that are wrong."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from releases.artifacts import scrub
from releases.models import Blob


class Command(BaseCommand):
    help = "Read the blobs that are due, or all of them, and compare their bytes with their digests."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="check all blobs, also those that are not due")

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[str] = Counter()
        for checked in scrub.scrub(float("inf"), everything=options["all"]):
            counts[checked.state or "UNREADABLE"] += 1
            if checked.state != Blob.State.SOUND:
                self.stdout.write(f"{checked.digest} {checked.state or 'cannot be read'}")
        self.stdout.write(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no blob is due")
        if counts.total() != counts[Blob.State.SOUND]:
            raise CommandError("Not all blobs are sound.")
