"""The base class of the management commands."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from foundation.errors import CoordinatorError
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant


class Command(BaseCommand):
    """An error of the product ends the command with its detail.

    Django's checks of the code are left to `coordinator check`: they import every page, which takes longer than most
    commands do.
    """

    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except CoordinatorError as error:
            raise CommandError(error.detail) from error

    @property
    def actor(self) -> str:
        """Who acts in the audit log, such as `coordinator backup`."""
        return f"coordinator {type(self).__module__.rpartition('.')[2]}"

    def record(self, act: Act, name: str, **details: Any) -> None:
        """Record an act of the installation on the object of this name. `details` as for `audit.record`."""
        audit.record(act, tenant=None, actor=self.actor, object=name, **details)

    def tenant(self, slug: str) -> Tenant:
        """Return the tenant. Raises `CommandError` if it does not exist."""
        tenant = Tenant.objects.filter(slug=slug).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {slug!r}.")
        return tenant
