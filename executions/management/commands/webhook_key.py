"""`coordinator webhook_key TENANT`: prints the keys with which the tenant's receivers verify webhooks."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from outbox.posts import webhook_keys
from tenancy.models import Tenant


class Command(BaseCommand):
    help = "Print the webhook keys of a tenant, one for each active secret. A receiver needs one. Keep them secret."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        if not Tenant.objects.filter(slug=options["tenant"]).exists():
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        for key in webhook_keys(options["tenant"]):
            self.stdout.write(key)
