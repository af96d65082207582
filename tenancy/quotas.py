"""How the quotas of a tenant are changed. Null is no limit."""

from collections.abc import Mapping

from django.contrib.auth.models import User
from django.db import transaction

from foundation.errors import Conflict
from tenancy import audit
from tenancy.access import ScopeMissing
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from tenancy.quota_table import QUOTAS


class StorageQuotaReached(Conflict, title="The tenant's artifacts would need more storage than its quota"):
    """Retire old releases, or ask an administrator to raise the quota.

    `data` has the members `quota` and `limit`.
    """


def limits(tenant: Tenant) -> dict[str, int | None]:
    return {quota.name: getattr(tenant, quota.column) for quota in QUOTAS}


def require_staff(user: User) -> None:
    """Raise `ScopeMissing` unless the user may change quotas, which is for superusers only."""
    if not user.is_superuser:
        raise ScopeMissing("Only superusers of the installation, and their tokens, change quotas.")


def change(tenant: Tenant, new: Mapping[str, int | None], *, actor: str) -> Tenant:
    """Replace all quotas. One that `new` does not contain becomes null. Return the changed tenant."""
    with transaction.atomic():
        locked = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
        before = limits(locked)
        for quota in QUOTAS:
            setattr(locked, quota.column, new.get(quota.name))
        locked.save(update_fields=[quota.column for quota in QUOTAS])
        audit.record(
            Act.QUOTAS_CHANGE,
            tenant=locked,
            actor=actor,
            object_type="tenant",
            object=locked.slug,
            before=before,
            after=limits(locked),
        )
    return locked
