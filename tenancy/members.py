"""The members of a tenant: gives and takes roles and groups, and says who holds them.

A role can be given to any name. If no active user has it, the role waits until one does. The tenant's people see no
difference, so that they cannot find out the names of users.
"""

from collections.abc import Collection
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Concat, Trim

from foundation.database.postgresql.outage import violated_constraint
from foundation.errors import NotFound, Unprocessable
from tenancy import audit
from tenancy.access import actor_named
from tenancy.audit.acts import Act
from tenancy.models import MOST_GROUPS, AuditEntry, Membership, Tenant
from tenancy.roles import Role, Scope, granted, roles_granting
from wire.identity import LONGEST_GROUP, RULE, is_identifier

USERNAME = Coalesce("user__username", "invited")
LONGEST_USERNAME = 150
_ONCE = {"membership_once", "invitation_once"}


class MemberUnknown(NotFound, title="The person does not have this role in the tenant"):
    """Check the name and the role in the list of members."""


class GroupsInvalid(Unprocessable, title="A member may have 50 groups with names of at most 100 characters"):
    """Send fewer groups, or shorter names."""


def listed(rows: QuerySet[Membership], *, sees_users: bool = False) -> QuerySet[Membership]:
    """Return `rows` with `username`, and with `full_name`, `active` and `last_log_in` of users who may be disclosed.

    The tenant's people know of a user once the tenant's audit log has an entry of theirs. Before that, an answer must
    not differ from that for a name without a user. `sees_users` discloses every user.
    """
    acted = AuditEntry.objects.filter(
        tenant=OuterRef("tenant"), actor=Concat(Value(actor_named("")), OuterRef("user__username"))
    )
    known = Q(user__isnull=False) if sees_users else Q(Exists(acted))
    full_name = Trim(Concat("user__first_name", Value(" "), "user__last_name"))
    return rows.select_related("user", "tenant").annotate(  # type: ignore[no-redef]  # their types and defaults
        username=USERNAME,
        full_name=Case(When(known, then=full_name), default=Value("")),
        active=Case(When(known, then=F("user__is_active"))),
        last_log_in=Case(When(known, then=F("user__last_login"))),
    )


def names(tenant: Tenant, scope: Scope) -> QuerySet[Membership, str]:
    """Return the names to which the tenant gave roles with `scope`, except those of deactivated users."""
    rows = _with(scope, Membership.objects.filter(tenant=tenant))
    return rows.order_by(USERNAME).values_list(USERNAME, flat=True).distinct()


def holds(tenant: Tenant, username: str, scope: Scope) -> bool:
    """True if the name is among `names`."""
    return holding(tenant, username, scope).exists()


def holding(tenant: Any, username: Any, scope: Scope) -> QuerySet[Membership]:
    """Return the memberships of the name in the tenant that grant `scope`. Both may be expressions."""
    return _with(scope, named(tenant, username))


def _with(scope: Scope, rows: QuerySet[Membership]) -> QuerySet[Membership]:
    return rows.filter(role__in=roles_granting(scope)).exclude(user__is_active=False)


def named(tenant: Any, username: Any) -> QuerySet[Membership]:
    return Membership.objects.filter(named_as(username), tenant=tenant)


def named_as(username: Any) -> Q:
    """Return the condition for memberships of a name."""
    return Q(user__username=username) | Q(invited=username, user=None)


def scopes_of(tenant: Tenant, username: str) -> frozenset[Scope]:
    """Return the scopes that the roles of the name in the tenant grant together."""
    return granted(named(tenant, username).order_by().values_list("role", flat=True))


def add(tenant: Tenant, username: str, role: Role, *, actor: str) -> tuple[Membership, bool]:
    """Give a role to a name, which keeps its groups. Return the membership, and whether it is new.

    The result does not tell whether an active user has the name.
    """
    rows = listed(named(tenant, username).filter(role=role)).order_by("pk")
    if membership := rows.first():
        return membership, False
    try:
        with transaction.atomic():
            groups = groups_of(tenant, username)
            member = Membership.objects.create(invited=username, tenant=tenant, role=role, groups=groups)
            _record(Act.MEMBERSHIP_ADD, tenant, username, role, actor)
    except IntegrityError as error:
        if violated_constraint(error) not in _ONCE:
            raise
        return rows[0], False  # another request was faster
    return rows.get(pk=member.pk), True


def remove(tenant: Tenant, username: str, role: Role, *, actor: str) -> Membership:
    """Take a role from a user, who loses what only this role allows, as do the user's tokens. Return what was removed.

    Raises `MemberUnknown`.
    """
    rows = named(tenant, username).filter(role=role).order_by("pk")
    with transaction.atomic():
        member = listed(rows).select_for_update(of=("self",)).first()
        if member is None:
            raise MemberUnknown(f"{username!r} does not have the role {role.value!r}.")
        Membership.objects.filter(pk=member.pk).delete()
        _record(Act.MEMBERSHIP_REMOVE, tenant, username, role, actor)
    return member


def groups_of(tenant: Tenant, username: str) -> list[str]:
    """Return the groups of the name in the tenant, sorted."""
    rows = named(tenant, username).order_by().values_list("groups", flat=True)
    return sorted(set[str]().union(*rows))


def set_groups(tenant: Tenant, username: str, groups: Collection[str], *, actor: str) -> list[str]:
    """Replace the groups of a name, which hold for all of its roles. Return them sorted and without repetitions.

    Raises `GroupsInvalid`, and `MemberUnknown` if the name has no role in the tenant.
    """
    wanted = valid_groups(groups)
    with transaction.atomic():
        rows = named(tenant, username).select_for_update(of=("self",)).order_by("pk")
        before = [row.groups for row in rows]
        if not before:
            raise MemberUnknown(f"{username!r} has no role in the tenant.")
        if any(role != wanted for role in before):
            Membership.objects.filter(pk__in=[row.pk for row in rows]).update(groups=wanted)
            former = sorted(set[str]().union(*before))
            audit.record(
                Act.MEMBERSHIP_CHANGE, tenant=tenant, actor=actor, object=username, groups=wanted, before=former
            )
    return wanted


def valid_groups(groups: Collection[str]) -> list[str]:
    """Return names of groups sorted and without repetitions. Raises `GroupsInvalid`."""
    for name in groups:
        if len(name) > LONGEST_GROUP or not is_identifier(name):
            raise _invalid(
                f"{name[:LONGEST_GROUP]!r}: the name of a group has at most {LONGEST_GROUP} characters and {RULE}"
            )
    wanted = sorted(set(groups))
    if len(wanted) > MOST_GROUPS:
        raise _invalid(f"A member may have at most {MOST_GROUPS} groups.")
    return wanted


def _invalid(message: str) -> GroupsInvalid:
    return GroupsInvalid(message, errors=[{"field": "groups", "code": GroupsInvalid.code, "message": message}])


def _record(act: Act, tenant: Tenant, username: str, role: Role, actor: str) -> None:
    audit.record(act, tenant=tenant, actor=actor, object=username, role=role)
