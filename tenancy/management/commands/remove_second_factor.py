"""`coordinator remove_second_factor USERNAME`: lets a person without their authenticator app log in."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from tenancy.management import base


class Command(base.Command):
    help = "Remove a user's second factor and its recovery codes. The password alone is then enough to log in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="the name with which the person logs in")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SECOND_FACTOR:
            raise CommandError("SECOND_FACTOR is not true, so no user has a second factor.")
        from tenancy.sign_in import second_factor  # it loads allauth

        user = User.objects.filter(username=options["username"]).first()
        if user is None or not second_factor.turn_off(user, by=self.actor):
            raise CommandError("There is no user with this name and a second factor.")
