"""`coordinator prepare`: prepares an installation on one machine, such as that of `coordinator dev`, in one process."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone

from foundation.database.postgresql.url import connection_settings
from tenancy.models import ApiToken
from tenancy.roles import Scope

MIGRATED: Final = "migrated"
"""The first line of the output: processes can start."""


class Command(BaseCommand):
    help = (
        "Migrate the database and collect the static files. With --tenant, also create a user, a tenant, a token that"
        " may do everything there, and a worker key. A user and a tenant that exist are kept. The URL of the database's"
        " owner is the first line of the standard input. Prints a line when the migrations are complete, and at the end"
        " the token and the worker key as JSON."
    )
    requires_system_checks = ()
    stealth_options = ("migrated",)
    """A function to call when processes can start."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", help="the tenant to create")
        parser.add_argument("--user", help="the superuser to create; DJANGO_SUPERUSER_PASSWORD is the password")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant, user = options["tenant"], options["user"]
        if bool(tenant) != bool(user):
            raise CommandError("Give both --tenant and --user, or neither.")
        with ThreadPoolExecutor(1) as other_thread:  # while the servers start
            collected = other_thread.submit(call_command, "collectstatic", interactive=False, verbosity=0)
            with _connected_as(sys.stdin.readline().strip()):
                call_command("migrate", verbosity=0)
            collected.result()
        if begin := options.get("migrated"):
            begin()
        self.stdout.write(MIGRATED)
        self.stdout.flush()
        if tenant:
            self.stdout.write(json.dumps(_created(tenant, user)))


def _created(tenant: str, user: str) -> dict[str, str]:
    """Create the user and the tenant unless they exist, a token and a worker key."""
    if not User.objects.filter(username=user).exists():
        call_command("createsuperuser", username=user, email=f"{user}@example.org", interactive=False, verbosity=0)
    call_command("create_tenant", tenant, member=user, stdout=StringIO())
    taken = ApiToken.objects.filter(tenant__slug=tenant, name=user).exists()
    name = f"{user}-{timezone.now():%Y%m%d%H%M%S}" if taken else user
    days = settings.TOKEN_MAX_DAYS
    return {
        "token": _output("issue_token", tenant, name, user=user, scope=[scope.value for scope in Scope], days=days),
        "workerKey": _output("worker_key", tenant),
    }


def _output(name: str, *arguments: str, **options: Any) -> str:
    output = StringIO()
    call_command(name, *arguments, stdout=output, stderr=StringIO(), **options)
    return output.getvalue().strip()


@contextmanager
def _connected_as(url: str) -> Iterator[None]:
    """Connect as the role of `url` in the block, and as before after it."""
    try:
        other = connection_settings(url)
    except ValueError as error:
        raise CommandError(f"The URL of the database's owner {error}") from None
    usual = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict |= other | {"OPTIONS": usual["OPTIONS"] | other["OPTIONS"]}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict |= usual
