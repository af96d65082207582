"""What users and tokens may see and do. The admin and the API both use this module."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from foundation.database.compiled import Compiled
from foundation.database.postgresql.outage import refused_by
from foundation.errors import Conflict, CoordinatorError, Forbidden, NotFound, Unprocessable
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import NAME_ONCE, ApiToken, Membership, Tenant
from tenancy.roles import Scope, roles_granting


class ScopeMissing(Forbidden, title="The token or role does not allow this"):
    """Use a token or role with the scope that `detail` names."""


class TokenLifetimeInvalid(Unprocessable, title="The token's lifetime is not allowed"):
    """Choose a lifetime within the limit that `detail` names."""


class TokenNameTaken(Conflict, title="The tenant already has a token with this name"):
    """Choose another name."""


class TokenInvalid(CoordinatorError, status=401, title="A bearer token is required", code="NOT_AUTHENTICATED"):
    """Send a valid token as `Authorization: Bearer …`."""


def tenants_of(user: User | AnonymousUser, scope: Scope = Scope.READ) -> QuerySet[Tenant]:
    """Return the tenants in which `user` holds `scope`. A superuser holds every scope in every tenant."""
    if not user.is_active:
        return Tenant.objects.none()
    if user.is_superuser:
        return Tenant.objects.all()
    granting = Membership.objects.filter(user_id=user.pk, tenant=OuterRef("pk"), role__in=roles_granting(scope))
    return Tenant.objects.filter(Exists(granting))


def entitled(tenant: Tenant, scope: Scope) -> QuerySet[User]:
    """Return the users for whom `may` is true."""
    granting = Membership.objects.filter(user_id=OuterRef("pk"), tenant=tenant, role__in=roles_granting(scope))
    return User.objects.filter(Q(is_superuser=True) | Exists(granting), is_active=True)


def has_scope(user: User | AnonymousUser, tenant: Tenant, scope: Scope) -> bool:
    return tenants_of(user, scope).filter(pk=tenant.pk).exists()


def require(user: User | AnonymousUser, tenant: Tenant, scope: Scope) -> None:
    """Raise `NotFound` if `user` may not see `tenant`, and `ScopeMissing` if they see it without holding `scope`."""
    if has_scope(user, tenant, scope):
        return
    if not has_scope(user, tenant, Scope.READ):
        raise NotFound(f"There is no tenant {tenant.slug!r}.")
    raise ScopeMissing(f"This needs the scope {scope.value!r} in tenant {tenant.slug!r}.")


def issue_token(
    tenant: Tenant, issuer: User, name: str, scopes: Collection[Scope], *, lifetime: timedelta | None
) -> tuple[ApiToken, str]:
    """Create a token of `tenant`. Return it with its plain text, which is not stored and cannot be shown again.

    `lifetime` is at most TOKEN_MAX_DAYS, which is also the default. Raises `TokenLifetimeInvalid`, `TokenNameTaken`,
    and `ScopeMissing` for a scope that the issuer does not hold.
    """
    longest = timedelta(days=settings.TOKEN_MAX_DAYS)
    lifetime = longest if lifetime is None else lifetime
    if not timedelta() < lifetime <= longest:
        raise TokenLifetimeInvalid(f"A token expires after 1 to {settings.TOKEN_MAX_DAYS} days.")
    entry = audit.Entry(tenant=tenant, actor=actor(issuer), object=name)
    for scope in scopes:
        try:
            require(issuer, tenant, scope)
        except CoordinatorError as refusal:
            audit.deny(Act.TOKEN_ISSUE, reason=refusal.detail, **entry)
            raise
    taken = TokenNameTaken(f"The tenant already has a token named {name!r}.")
    with refused_by({NAME_ONCE}, lambda: taken), transaction.atomic():
        token, plain = ApiToken.objects.create(  # type: ignore[no-untyped-call]  # knox has no types
            issuer, expiry=lifetime, tenant=tenant, name=name, scopes=sorted(scope.value for scope in scopes)
        )
        expires_at = (timezone.now() + lifetime).isoformat(timespec="seconds")
        audit.record(Act.TOKEN_ISSUE, **entry, scopes=token.scopes, expiresAt=expires_at)
    return token, plain


def with_owners(tokens: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
    """Return `tokens` with their tenant, their owner and the owner's roles in the tenant, in one query."""
    roles = Membership.objects.filter(user=OuterRef("user"), tenant=OuterRef("tenant")).order_by("role").values("role")
    return tokens.select_related("user", "tenant").annotate(  # type: ignore[no-redef]  # their types and defaults
        owner_roles=ArraySubquery(roles), has_expired=Q(expiry__lte=Now())
    )


def valid_token(digest: str) -> ApiToken:
    """Return the token with this digest. Raises `TokenInvalid` if it is unknown or expired, or its owner has left."""
    token = _TOKEN.first(digest=digest)
    if token is None or not token.has_standing:
        raise TokenInvalid("The token is not valid.")
    if token.has_expired:
        raise TokenInvalid("The token has expired.")
    return token


_TOKEN = Compiled(lambda digest: with_owners(ApiToken.objects.filter(digest=digest)).order_by(), digest="digest")


def require_scope(token: ApiToken, scope: Scope) -> None:
    """Raise `ScopeMissing` unless the token and its owner hold `scope`."""
    if scope.value in token.usable_scopes:
        return
    reason = f"The token needs the scope {scope.value!r}."
    if scope.value in token.scopes:
        reason = f"The token's owner no longer holds the scope {scope.value!r}."
    raise ScopeMissing(reason, scope=scope.value)


def end_tokens(owner: User) -> None:
    """Make every token of `owner` expire now. The tokens are kept and remain visible."""
    with transaction.atomic():
        ending = ApiToken.objects.filter(user=owner, expiry__gt=Now()).select_related("tenant")
        # In one order of tenants, as every transaction that writes to several chains.
        ended = list(ending.order_by("tenant", "pk").select_for_update(of=("self",)))
        ApiToken.objects.filter(pk__in=[token.pk for token in ended]).update(expiry=Now())
        for token in ended:
            audit.record(
                Act.TOKEN_END,
                tenant=token.tenant,
                actor=actor(owner),
                object=token.name,
                reason="The owner has a new password.",
            )


def actor(user: User | AnonymousUser, token: ApiToken | None = None) -> str:
    return f"token:{token.name}" if token is not None else actor_named(user.get_username())


def actor_named(username: str) -> str:
    return f"user:{username}"


def record_of_user(act: Act, user: User, *, by: User | AnonymousUser | None = None, **details: Any) -> None:
    """Record an act about a user in the chain of the installation. By default, it is the user's own."""
    name = user.get_username()
    audit.record(act, tenant=None, actor=actor(by or user), object=name, **details)
