"""`manage.py worker_key TENANT`: prints the key with which the tenant's transition workers sign."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from coordinator.tenancy.models import Tenant
from executions.protocol import worker_key


class Command(BaseCommand):
    help = "Print the worker key of a tenant, for its transition workers' PIPELINES_WORKER_KEY. Keep it secret."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        if not Tenant.objects.filter(slug=options["tenant"]).exists():
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        self.stdout.write(worker_key(settings.WORKER_SECRET, options["tenant"]))
