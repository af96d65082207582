"""`coordinator worker_key TENANT`: prints or changes the key that the tenant's workers sign with."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from executions.workers.tenant_keys import active_keys, current_key, replace_key, revoke_old_key, start_key
from foundation.errors import CoordinatorError
from tenancy.management import base

CHANGES = {"start": start_key, "revoke_old": revoke_old_key, "replace": replace_key}


class Command(base.Command):
    help = (
        "Print the newest worker key of a tenant, for its workers' PIPELINES_WORKER_KEY. Keep it secret. "
        "To rotate the key: --start, give the printed key to all workers, --revoke-old."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the slug of the tenant")
        change = parser.add_mutually_exclusive_group()
        change.add_argument("--start", action="store_true", help="start a new key; the old one stays active")
        change.add_argument("--revoke-old", action="store_true", help="revoke the old key")
        change.add_argument(
            "--replace", action="store_true", help="start a new key and revoke all others at once, after a leak"
        )
        parser.add_argument("--reason", default="", help="kept in the history")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"])
        for name, change in CHANGES.items():
            if options[name]:
                try:
                    change(tenant, actor=self.actor, reason=options["reason"])
                except CoordinatorError as error:
                    raise CommandError(f"{error.code}: {error.detail}") from None
        active = ", ".join(key.key_id for key in active_keys(tenant.slug))
        self.stderr.write(f"Active keys, newest first: {active}")
        self.stdout.write(current_key(tenant.slug).text)
