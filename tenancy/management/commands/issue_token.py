"""`coordinator issue_token TENANT NAME --user USERNAME`: prints a new API token."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from tenancy.access import has_scope, issue_token
from tenancy.management import base
from tenancy.models import LONGEST_TOKEN_DAYS, Tenant
from tenancy.roles import Scope


class Command(base.Command):
    help = "Issue an API token of a tenant and print it. Only its digest is stored, so it cannot be printed again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the slug of the tenant")
        parser.add_argument("name", help="unique in the tenant; histories show it")
        parser.add_argument("--user", required=True, help="the owner, who must hold the scopes")
        parser.add_argument("--scope", action="append", choices=[scope.value for scope in Scope], help="repeatable")
        usual = min(90, settings.TOKEN_MAX_DAYS)
        parser.add_argument("--days", type=int, default=usual, help="the lifetime in days, at most TOKEN_MAX_DAYS")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        user = User.objects.filter(username=options["user"]).first()
        if tenant is None or user is None:
            raise CommandError("The tenant or the user does not exist.")
        scopes = [Scope(scope) for scope in options["scope"] or _usual(tenant, user)]
        lifetime = timedelta(days=min(options["days"], LONGEST_TOKEN_DAYS + 1))
        _, plain = issue_token(tenant, user, options["name"], scopes, lifetime=lifetime)
        self.stdout.write(plain)


def _usual(tenant: Tenant, owner: User) -> list[Scope]:
    """Return the scopes of a token for which none are named: `read`, and `payloads:read` if the owner holds it."""
    return [Scope.READ, *([Scope.PAYLOADS] if has_scope(owner, tenant, Scope.PAYLOADS) else [])]
