"""`coordinator list_metrics`: prints the page `docs/metrics.md`."""

from typing import Any

from django.core.management.base import BaseCommand

from coordinator.monitoring import reference


class Command(BaseCommand):
    help = "Print all metrics as a Markdown page, with their labels and meanings."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(reference.page())
