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

from foundation.errors import CoordinatorError
from tenancy import audit, invitations, members
from tenancy.access import record_of_user
from tenancy.audit.acts import Act
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tenancy.sign_in.mapping import granted_by
from wire.identity import is_identifier

ACTOR = "identity-provider"
MOST_CLAIMED_GROUPS = 1000
EMAIL = "email"
CLAIMS_ELSEWHERE = "_claim_names"
"""The claims that a provider did not include (OpenID Connect Core, 5.6.2): Entra ID leaves long lists of groups out."""


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
    # An address can be the recipient of questions (ADR 119), so a claim alone is not enough.
    is_verified = claims.get("email_verified") is True
    if settings.OIDC_USERNAME_CLAIM == EMAIL and not is_verified:
        raise SignInRefused("The identity provider has not verified your e-mail address, which is your user name here.")
    return Identity(
        username,
        email=_text(claims, EMAIL, 254) if is_verified else "",
        first_name=_text(claims, "given_name", 150),
        last_name=_text(claims, "family_name", 150),
        groups=_groups(claims),
    )


def _groups(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the claimed groups. Without the claim, the person has none."""
    name = settings.OIDC_GROUPS_CLAIM
    elsewhere = claims.get(CLAIMS_ELSEWHERE)
    if isinstance(elsewhere, dict) and name in elsewhere:
        raise SignInRefused(
            f"The identity provider left your groups out of the claim {name!r}, because there are too many. Its"
            " administrators can limit the claim to the groups of this coordinator."
        )
    groups = claims.get(name, [])
    groups = [groups] if isinstance(groups, str) else groups
    if not isinstance(groups, list) or len(groups) > MOST_CLAIMED_GROUPS:
        raise SignInRefused(f"The claim {name!r} must be a list of at most {MOST_CLAIMED_GROUPS} groups.")
    return frozenset(group for group in groups if isinstance(group, str))


def _is_username(name: str) -> bool:
    """False also for a name that Django would store in another form, which may be that of another person."""
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError:
        return False
    is_stored_as_is = User.normalize_username(name) == name
    return is_stored_as_is and is_identifier(name) and len(name) <= members.LONGEST_USERNAME


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
    is_new = False
    if user is None:
        user, is_new = _new(identity)
    else:
        user = _known(user.pk)
    if not user.is_active:
        raise SignInRefused("Your user is deactivated. A superuser of the coordinator can activate it.")
    if not user.is_staff:
        raise SignInRefused("Your user may not open this console. A superuser of the coordinator can allow it.")
    # Before the first entry in an audit log: acts of others on these rows lock the row first, and then the log.
    invited = invitations.locked_of(identity.email)
    list(Membership.objects.select_for_update().filter(user=user).order_by("pk"))
    _update_person(user, identity)
    try:
        _update_roles(user, identity)
        _update_groups(user, identity)
        invitations.accept_each(invited, user)
    except CoordinatorError as error:
        raise SignInRefused(f"Your roles and groups cannot be stored. {error.detail}") from None
    if is_new:
        # The log of the installation comes after those of tenants, in every transaction.
        record_of_user(Act.USER_CREATE, user, issuer=settings.OIDC_ISSUER)
    return user


def _known(key: int) -> User:
    """Lock the user, so that two sign-ins of one person take place one after the other."""
    return User.objects.select_for_update().get(pk=key)


def _new(identity: Identity) -> tuple[User, bool]:
    """Return the user for a person who signs in for the first time, and whether it is created now."""
    namesakes = list(User.objects.select_for_update().filter(username__iexact=identity.username).order_by("pk"))
    if namesakes:
        namesake = next((user for user in namesakes if user.username == identity.username), None)
        if namesake is None or not settings.OIDC_LINK_USERS or namesake.is_superuser:
            raise SignInRefused(
                f"The coordinator already has a user {(namesake or namesakes[0]).username!r}. If it is yours, log in"
                " with its password. Otherwise, ask a superuser of the coordinator."
            )
        return namesake, False
    # Before the user is created, as an invitation that creates one.
    waiting = bool(invitations.locked_of(identity.email))
    waiting = waiting or Membership.objects.filter(user=None, invited=identity.username).exists()
    if not waiting and not any(granted_by(settings.OIDC_ROLES, identity.groups).values()):
        raise SignInRefused(
            f"No tenant has given {identity.username!r} a role, and none of your groups grants one. A tenant admin can"
            " add you as a member."
        )
    return User.objects.create_user(identity.username, is_staff=True), True


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


def record_refusal(username: object, reason: str) -> None:
    """Record a sign-in that was refused. `username` is the claim, which may be anything."""
    known = isinstance(username, str) and "\0" not in username and User.objects.filter(username=username).exists()
    audit.observe(
        Act.USER_LOG_IN,
        tenant=None,
        actor="anonymous",
        object=username if known else "(unknown)",
        outcome=audit.Outcome.DENIED,
        reason=reason,
    )
