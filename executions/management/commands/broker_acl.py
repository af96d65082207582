"""`coordinator broker_acl --passwords FOLDER [TENANT ...]`: prints the broker's users, for its ACL file."""

import secrets
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenancy.management import base
from tenancy.models import Tenant
from wire.messages.queues import COORDINATOR, COORDINATOR_RULES, enable, worker_rules, worker_user

SHORTEST_PASSWORD = 32


class Command(base.Command):
    help = (
        "Print the broker's users with their rules, as lines of an ACL file of Redis or Valkey. Without a tenant: the "
        "coordinator's user, a user for the workers of each tenant, and the disabled default user. "
        "Passwords are printed only as SHA-256 digests."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", nargs="*", help="the slugs of the tenants; all tenants by default")
        parser.add_argument(
            "--passwords",
            required=True,
            type=Path,
            metavar="FOLDER",
            help="contains a file of valid passwords for each user, one per line; "
            "a missing file is created with a new password",
        )
        parser.add_argument(
            "--commands", action="store_true", help="print ACL SETUSER commands for redis-cli instead of lines"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["passwords"]
        chosen = [self.tenant(slug).slug for slug in options["tenant"]]
        tenants = chosen or Tenant.objects.order_by("slug").values_list("slug", flat=True)
        rules = {worker_user(tenant): worker_rules(tenant) for tenant in tenants}
        if not chosen:
            rules = {COORDINATOR: COORDINATOR_RULES, **rules}
        start = "ACL SETUSER" if options["commands"] else "user"
        lines = [" ".join((start, user, "reset", *enable(_passwords(folder, user)), *rules[user])) for user in rules]
        # This must be last: it disables the default user, who may be the one that sends the commands.
        self.stdout.write("\n".join(lines if chosen else [*lines, f"{start} default reset"]))


def _passwords(folder: Path, user: str) -> list[str]:
    """Return the passwords in the user's file. Create the file if it is missing. Raises `CommandError`."""
    file = folder / user
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            file.touch(mode=0o600, exist_ok=False)
            file.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
        known = file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The passwords in {file} cannot be read or written ({type(error).__name__}).") from None
    if not known or any(len(password) < SHORTEST_PASSWORD for password in known):
        raise CommandError(f"{file} must contain passwords of at least {SHORTEST_PASSWORD} characters, one per line.")
    return known
