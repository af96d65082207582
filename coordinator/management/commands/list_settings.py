"""`coordinator list_settings`: prints the names of all settings."""

from typing import Any

from django.core.management.base import BaseCommand

from coordinator.settings import env


class Command(BaseCommand):
    help = "Print the name of each setting, one on a line."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("\n".join(sorted(env.declared)))
