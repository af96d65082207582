"""Django's `changepassword`, extended with an entry in the audit log."""

from getpass import getuser
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.db import transaction

from tenancy import audit
from tenancy.audit.acts import Act


class Command(changepassword.Command):
    help = "Change the password of a user."

    def handle(self, *args: Any, **options: Any) -> str | None:
        name, by = options["username"] or getuser(), "coordinator changepassword"
        with transaction.atomic():
            done = super().handle(*args, **{**options, "username": name})
            audit.record(Act.USER_PASSWORD, tenant=None, actor=by, object=name)
        return done
