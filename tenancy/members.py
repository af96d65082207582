"""The members of a tenant: gives and takes roles."""

from django.contrib.auth.models import User
from django.db import transaction

from foundation.errors import CoordinatorError, NotFound
from tenancy import audit
from tenancy.models import Membership, Tenant
from tenancy.roles import Role


class UserUnknown(CoordinatorError):
    code = "USER_UNKNOWN"
    status = 422
    title = "There is no active user with this name"


class MemberUnknown(NotFound):
    code = "MEMBER_UNKNOWN"
    title = "The person does not have this role in the tenant"


def add(tenant: Tenant, username: str, role: Role, *, actor: str) -> tuple[Membership, bool]:
    """Give a role to a user. Return the membership, and whether it is new. Raises `UserUnknown`."""
    user = User.objects.filter(username=username, is_active=True).first()
    if user is None:
        raise UserUnknown(f"There is no active user {username!r}.")
    with transaction.atomic():
        member, is_new = Membership.objects.get_or_create(user=user, tenant=tenant, role=role)
        if is_new:
            _record("membership.add", member, actor)
    return member, is_new


def remove(tenant: Tenant, username: str, role: Role, *, actor: str) -> Membership:
    """Take a role from a user, who loses what only this role allows, as do the user's tokens. Return what was removed.

    Raises `MemberUnknown`.
    """
    with transaction.atomic():
        member = (
            Membership.objects.select_for_update(of=("self",))
            .select_related("user", "tenant")
            .filter(tenant=tenant, user__username=username, role=role)
            .first()
        )
        if member is None:
            raise MemberUnknown(f"{username!r} does not have the role {role.value!r}.")
        Membership.objects.filter(pk=member.pk).delete()
        _record("membership.remove", member, actor)
    return member


def _record(act: str, member: Membership, actor: str) -> None:
    name = member.user.get_username()
    audit.record(act, tenant=member.tenant, actor=actor, object_type="membership", object=name, role=member.role)
