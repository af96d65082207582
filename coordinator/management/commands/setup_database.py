"""`coordinator setup_database`: creates the roles, the database and the rights, and checks them."""

import sys
from getpass import getpass
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from foundation.database.postgresql.roles import application_dangers, application_weaknesses, owner_faults
from foundation.database.postgresql.setup import MAINTENANCE_DATABASE, Names, missing_roles, set_up

OWNER_PASSWORD, APPLICATION_PASSWORD = "DATABASE_OWNER_PASSWORD", "DATABASE_APPLICATION_PASSWORD"


class Command(BaseCommand):
    help = (
        "Create the missing roles and the database, grant the rights, and check the result. Safe to repeat."
        " DATABASE_URL must name the database, and a superuser or the owner. New passwords are read from"
        f" {OWNER_PASSWORD} and {APPLICATION_PASSWORD}, or from the terminal."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--owner", default="coordinator_owner", help="the role that migrates")
        parser.add_argument("--check", action="store_true", help="change nothing, only check")

    def handle(self, *args: Any, **options: Any) -> None:
        database = connection.settings_dict["NAME"]
        names = Names(database, options["owner"], settings.DATABASE_APPLICATION_ROLE)
        if names.owner == names.application:
            raise CommandError("The owner and the application role must differ.")
        try:
            if not options["check"]:
                set_up(_connect, names, self._passwords(names))
            self._check(names)
        except psycopg.Error as error:
            # The full error text may contain a part of the statement.
            raise CommandError(error.diag.message_primary or str(error).splitlines()[0]) from None

    def _passwords(self, names: Names) -> dict[str, str]:
        """Return the passwords to set, by role. A role that does not exist yet must get one."""
        with _connect(MAINTENANCE_DATABASE) as connected:
            missing = missing_roles(connected, names)
        passwords = {}
        for role, variable in ((names.owner, OWNER_PASSWORD), (names.application, APPLICATION_PASSWORD)):
            password = getattr(settings, variable)
            if not password and role in missing:
                if not sys.stdin.isatty():
                    raise CommandError(f"The role {role} is new: set {variable} or {variable}_FILE to its password.")
                password = getpass(f"Password for the new role {role}: ")
                if not password or getpass("Again: ") != password:
                    raise CommandError("The passwords are empty or differ.")
            if password:
                passwords[role] = password
        return passwords

    def _check(self, names: Names) -> None:
        """Raise `CommandError` with every fault of the roles."""
        with _connect(names.database) as connected:
            faults = [f"{names.owner} {fault}" for fault in owner_faults(connected.execute, names.owner)]
            dangers = application_dangers(connected.execute, names.application)
            weaknesses = application_weaknesses(connected.execute, names.application)
        faults += [f"{names.application} {danger}" for danger in dangers]
        if faults:
            raise CommandError("\n".join(["The database setup is wrong:", *faults]))
        for weakness in weaknesses:
            self.stderr.write(f"{names.application} {weakness}")
        self.stdout.write(f"The database {names.database} is set up for {names.owner} and {names.application}.")


def _connect(database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(**{**connection.get_connection_params(), "dbname": database})
