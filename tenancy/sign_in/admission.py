"""Decides who may sign in with the identity provider, and keeps their roles and groups as the provider's groups say.

The provider is the authority for the tenants that OIDC_ROLES names: at each sign-in, a person gets exactly the roles
there that their groups grant. OIDC_GROUPS does the same for the groups of members. Other tenants are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError

from tenancy import audit, invitations, members
from tenancy.access import record_of_user
from tenancy.audit.acts import Act
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tenancy.sign_in.mapping import granted_by
from wire.identity import is_identifier

ACTOR = "identity-provider"
MOST_CLAIMED_GROUPS = 1000


class SignInRefused(Exception):
    """The coordinator does not admit a person whom the provider knows. The message says why, and who can help."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the identity provider says about a person."""

    username: str
    email: str
    first_name: str
    last_name: str
    groups: frozenset[str]


def read_identity(claims: Mapping[str, Any]) -> Identity:
    """Return the identity in the claims of a verified ID token. Raises `SignInRefused` if it cannot be used."""
    username = claims.get(settings.OIDC_USERNAME_CLAIM)
    if not isinstance(username, str) or not _is_username(username):
        raise SignInRefused(
            f"The claim {settings.OIDC_USERNAME_CLAIM!r} is not a valid user name. The setting OIDC_USERNAME_CLAIM"
            " names the claim, and the administrators of the identity provider choose what it contains."
        )
    groups = claims.get(settings.OIDC_GROUPS_CLAIM, [])
    groups = [groups] if isinstance(groups, str) else groups
    if not isinstance(groups, list) or len(groups) > MOST_CLAIMED_GROUPS:
        raise SignInRefused(
            f"The claim {settings.OIDC_GROUPS_CLAIM!r} must be a list of at most {MOST_CLAIMED_GROUPS} groups."
        )
    # An address can be the recipient of questions (ADR 119), so nobody gets one that they merely claim.
    is_verified = claims.get("email_verified") is True
    return Identity(
        username,
        email=_text(claims, "email", 254) if is_verified else "",
        first_name=_text(claims, "given_name", 150),
        last_name=_text(claims, "family_name", 150),
        groups=frozenset(group for group in groups if isinstance(group, str)),
    )


def _is_username(name: str) -> bool:
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError:
        return False
    return is_identifier(name) and len(name) <= members.LONGEST_USERNAME


def _text(claims: Mapping[str, Any], name: str, longest: int) -> str:
    """Return a text for display; an unusable one is empty."""
    value = claims.get(name)
    return value if isinstance(value, str) and is_identifier(value) and len(value) <= longest else ""


def admit(identity: Identity, user: User | None) -> User:
    """Return the user of the identity with the roles and groups that the provider grants.

    `user` is the one that an earlier sign-in linked to this person, or None. Then a user is created, or a local user
    with this name is linked if OIDC_LINK_USERS is true. Call this in the transaction that stores the link. Raises
    `SignInRefused`: the caller must then roll back.
    """
    user = _known(user.pk) if user else _new(identity)
    if not user.is_active:
        raise SignInRefused("Your user is deactivated. A superuser of the coordinator can activate it.")
    _update_person(user, identity)
    _update_roles(user, identity)
    _update_groups(user, identity)
    invitations.accept_by_address(user, identity.email)
    return user


def _known(key: int) -> User:
    """Lock the user, so that two sign-ins of one person take place one after the other."""
    return User.objects.select_for_update().get(pk=key)


def _new(identity: Identity) -> User:
    found = User.objects.select_for_update().filter(username=identity.username).first()
    if found is not None:
        if not settings.OIDC_LINK_USERS or found.is_superuser:
            raise SignInRefused(
                f"The coordinator already has a local user {identity.username!r}. Log in with its password, or ask a"
                " superuser of the coordinator."
            )
        return found
    waiting = Membership.objects.filter(user=None, invited=identity.username).exists()
    waiting = waiting or invitations.is_open_for(identity.email)
    if not waiting and not any(granted_by(settings.OIDC_ROLES, identity.groups).values()):
        raise SignInRefused(
            f"No tenant has given {identity.username!r} a role, and none of your groups grants one. A tenant admin can"
            " add you as a member."
        )
    user = User.objects.create_user(identity.username, is_staff=True)
    record_of_user(Act.USER_CREATE, user, issuer=settings.OIDC_ISSUER)
    return user


def _update_person(user: User, identity: Identity) -> None:
    changed = [
        name
        for name in ("email", "first_name", "last_name")
        if (value := getattr(identity, name)) and getattr(user, name) != value
    ]
    for name in changed:
        setattr(user, name, getattr(identity, name))
    if changed:
        user.save(update_fields=changed)


def _update_roles(user: User, identity: Identity) -> None:
    granted = granted_by(settings.OIDC_ROLES, identity.groups)
    for tenant in Tenant.objects.filter(slug__in=granted).order_by("slug"):
        held = {*members.named(tenant, user.username).values_list("role", flat=True)}
        for role in sorted(granted[tenant.slug] - held):
            members.add(tenant, user.username, Role(role), actor=ACTOR)
        for role in sorted(held - granted[tenant.slug]):
            members.remove(tenant, user.username, Role(role), actor=ACTOR)


def _update_groups(user: User, identity: Identity) -> None:
    granted = granted_by(settings.OIDC_GROUPS, identity.groups)
    for tenant in Tenant.objects.filter(slug__in=granted, memberships__user=user).distinct().order_by("slug"):
        members.set_groups(tenant, user.username, granted[tenant.slug], actor=ACTOR)


def require_role(user: User) -> None:
    """Raise `SignInRefused` if the user has no role in any tenant."""
    if not user.is_superuser and not user.memberships.exists():
        raise SignInRefused("You have no role in any tenant any more. A tenant admin can add you as a member.")


def record_refusal(username: str, reason: str) -> None:
    """Record a sign-in that was refused. `username` may be empty."""
    known = bool(username) and User.objects.filter(username=username).exists()
    audit.observe(
        Act.USER_LOG_IN,
        tenant=None,
        actor="anonymous",
        object=username if known else "(unknown)",
        outcome=audit.Outcome.DENIED,
        reason=reason,
    )
