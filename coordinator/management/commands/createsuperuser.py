"""Django's `createsuperuser`, extended to validate DJANGO_SUPERUSER_PASSWORD."""

import os
from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError
from django.db import transaction

from tenancy import audit
from tenancy.audit.acts import Act


class Command(createsuperuser.Command):
    help = "Create a superuser. The password is $DJANGO_SUPERUSER_PASSWORD, or it is read from the terminal."

    def handle(self, *args: Any, **options: Any) -> None:
        password = os.environ.get("DJANGO_SUPERUSER_PASSWORD")
        if password is not None and not options["interactive"]:
            try:
                validate_password(password, User(username=options["username"] or "", email=options["email"] or ""))
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
        with transaction.atomic():
            known = set(User.objects.values_list("pk", flat=True))
            super().handle(*args, **options)
            for user in User.objects.exclude(pk__in=known):
                name, by = user.get_username(), "coordinator createsuperuser"
                audit.record(Act.USER_CREATE, tenant=None, actor=by, object=name, is_superuser=True)
