"""`coordinator webhook_key TENANT`: prints the keys with which the tenant's receivers verify webhooks."""

from typing import Any

from django.core.management.base import CommandParser

from outbox.outbox import webhook_keys
from tenancy.management import base


class Command(base.Command):
    help = "Print the webhook keys of a tenant, one for each active secret. A receiver needs one. Keep them secret."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the slug of the tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        for key in webhook_keys(self.tenant(options["tenant"]).slug):
            self.stdout.write(key)
