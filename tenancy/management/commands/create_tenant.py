"""`coordinator create_tenant SLUG`: creates a tenant, and with --member the roles of a user."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from tenancy import members
from tenancy.audit.acts import Act
from tenancy.management import base
from tenancy.models import Tenant
from tenancy.roles import Role


class Command(base.Command):
    help = "Create a tenant. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="1 to 63 of a-z, 0-9 and inner hyphens")
        parser.add_argument("--name", help="the display name; the slug by default")
        parser.add_argument("--member", metavar="USERNAME", help="the user name of a person to add as a member")
        parser.add_argument(
            "--role",
            action="append",
            choices=list(Role),
            help="a role that the member gets in addition to those that they have; repeatable; default: tenant-admin",
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["slug"]
        tenant = Tenant.objects.filter(slug=slug).first() or Tenant(slug=slug, name=options["name"] or slug)
        try:
            tenant.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        new = tenant.pk is None
        if new:
            tenant.save()
        if options["member"]:
            for role in options["role"] or [Role.TENANT_ADMIN]:
                self._add_member(tenant, options["member"], Role(role))
        if new:
            self.record(Act.TENANT_CREATE, slug)
        self.stdout.write(f"The tenant {slug} exists.")

    def _add_member(self, tenant: Tenant, username: str, role: Role) -> None:
        member, _ = members.add(tenant, username, role, actor=self.actor)
        if member.user is None:
            self.stdout.write(f"No active user has the name {username!r}. One who gets it will have the role {role}.")
