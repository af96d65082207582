"""`coordinator create_tenant SLUG`: creates a tenant, and with --member the roles of a user."""

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from tenancy import audit
from tenancy.models import Membership, Tenant
from tenancy.roles import Role

ACTOR = "coordinator create_tenant"


class Command(BaseCommand):
    help = "Create a tenant. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="1 to 63 of a-z, 0-9 and inner hyphens")
        parser.add_argument("--name", help="the display name; the slug by default")
        parser.add_argument("--member", metavar="USERNAME", help="an existing user to add as a member")
        parser.add_argument(
            "--role",
            action="append",
            choices=Role.values,
            help="a role that the member gets in addition to those that they have; repeatable; default: tenant-admin",
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["slug"]
        tenant = Tenant.objects.filter(slug=slug).first() or Tenant(slug=slug, name=options["name"] or slug)
        try:
            tenant.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        new = tenant.pk is None
        if new:
            tenant.save()
        if options["member"]:
            user = User.objects.filter(username=options["member"]).first()
            if user is None:
                raise CommandError(f"There is no user {options['member']!r}.")
            for role in options["role"] or [Role.TENANT_ADMIN]:
                self._add_member(tenant, user, role)
        if new:
            audit.record("tenant.create", tenant=None, actor=ACTOR, object_type="tenant", object=slug)
        self.stdout.write(f"The tenant {slug} exists.")

    def _add_member(self, tenant: Tenant, user: User, role: str) -> None:
        _, added = Membership.objects.get_or_create(user=user, tenant=tenant, role=role)
        if added:
            name = user.get_username()
            audit.record("membership.add", tenant=tenant, actor=ACTOR, object_type="membership", object=name, role=role)
