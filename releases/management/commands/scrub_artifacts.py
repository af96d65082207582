"""`manage.py scrub_artifacts`: re-reads stored bytes at once, those that are due or all, and tells what is wrong."""

from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from releases.artifacts import scrub
from releases.models import Blob


class Command(BaseCommand):
    help = "Re-read the blobs that are due, or all of them, and hold them against their digest."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="also what was checked not long ago")

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[str] = Counter()
        for checked in scrub.scrub(float("inf"), everything=options["all"]):
            counts[checked.state or "UNREADABLE"] += 1
            if checked.state != Blob.State.SOUND:
                self.stdout.write(f"{checked.digest} {checked.state or 'could not be read'}")
        self.stdout.write(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing is due")
        if counts.total() != counts[Blob.State.SOUND]:
            raise CommandError("Not all blobs are sound.")
