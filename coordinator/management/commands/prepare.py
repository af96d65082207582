"""`coordinator prepare`: prepares a new installation on one machine, such as the demo, in one process."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from typing import Any, Final

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from foundation.database.postgresql.url import connection_settings

MIGRATED: Final = "migrated"
"""The first line of the output: processes can start."""


class Command(BaseCommand):
    help = (
        "Migrate the database and collect the static files, and with --tenant create a user, a tenant, an API token and"
        " a worker key. The URL of the database's owner is the first line of the standard input. Prints a line when"
        " the migrations are complete, and at the end the token and the worker key as JSON."
    )
    requires_system_checks = ()
    stealth_options = ("migrated",)
    """A function to call when processes can start."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", help="the tenant to create")
        parser.add_argument("--user", help="the superuser to create; DJANGO_SUPERUSER_PASSWORD is the password")
        parser.add_argument("--scope", action="append", default=[], help="a scope of the token; repeatable")

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
            self.stdout.write(json.dumps(_created(tenant, user, options["scope"])))


def _created(tenant: str, user: str, scopes: list[str]) -> dict[str, str]:
    """Create the user, the tenant, a token and a worker key."""
    call_command("createsuperuser", username=user, email=f"{user}@example.org", interactive=False, verbosity=0)
    call_command("create_tenant", tenant, member=user, stdout=StringIO())
    return {
        "token": _output("issue_token", tenant, user, user=user, scope=scopes),
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
