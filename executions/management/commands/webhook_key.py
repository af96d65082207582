"""`manage.py webhook_key TENANT`: prints the key with which the tenant's receivers check what they are sent."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from coordinator.tenancy.models import Tenant
from executions.webhooks import webhook_key


class Command(BaseCommand):
    help = "Print the webhook key of a tenant, for the receivers of its webhooks. Keep it secret."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        if not Tenant.objects.filter(slug=options["tenant"]).exists():
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        self.stdout.write(webhook_key(options["tenant"]))
