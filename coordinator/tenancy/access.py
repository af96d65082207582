"""What a person or a token may see and do. The admin and the API both ask here."""

from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from coordinator.errors import CoordinatorError, NotFound
from coordinator.tenancy.models import ApiToken, Tenant
from coordinator.tenancy.roles import Scope, roles_granting


class ScopeMissing(CoordinatorError):
    code = "SCOPE_MISSING"
    status = 403
    title = "The token or role does not allow this"


class TokenInvalid(CoordinatorError):
    code = "NOT_AUTHENTICATED"
    status = 401
    title = "A bearer token is required"


def tenants_of(user: User | AnonymousUser, scope: Scope = Scope.READ) -> QuerySet[Tenant]:
    """The tenants in which `user` holds `scope`; a superuser holds every scope everywhere."""
    if not user.is_active:
        return Tenant.objects.none()
    if user.is_superuser:
        return Tenant.objects.all()
    return Tenant.objects.filter(memberships__user_id=user.pk, memberships__role__in=roles_granting(scope))


def may(user: User | AnonymousUser, tenant: Tenant, scope: Scope) -> bool:
    return tenants_of(user, scope).filter(pk=tenant.pk).exists()


def require(user: User | AnonymousUser, tenant: Tenant, scope: Scope) -> None:
    """Raise `NotFound` where `user` may not even see `tenant`, `ScopeMissing` where they may see but not do this."""
    if may(user, tenant, scope):
        return
    if not may(user, tenant, Scope.READ):
        raise NotFound(f"There is no tenant {tenant.slug!r}.")
    raise ScopeMissing(f"This needs {scope.value!r} in tenant {tenant.slug!r}.")


def issue_token(
    tenant: Tenant, issuer: User, name: str, scopes: Collection[Scope], *, lifetime: timedelta | None
) -> tuple[ApiToken, str]:
    """Make a token of `tenant` and return it with its plain text, which is not kept and cannot be shown again.

    Raises `ScopeMissing` for a scope that the issuer does not hold: no one hands on more than they have.
    """
    for scope in scopes:
        require(issuer, tenant, scope)
    token, plain = ApiToken.objects.create(  # type: ignore[no-untyped-call]  # knox has no types
        issuer, expiry=lifetime, tenant=tenant, name=name, scopes=sorted(scope.value for scope in scopes)
    )
    return token, plain


def require_valid(digest: str | None, scope: Scope) -> None:
    """Raise `TokenInvalid` unless the token of that digest is good for `scope` now; None stands for no token at all."""
    if digest is None:
        return
    unexpired = Q(expiry=None) | Q(expiry__gt=Now())
    if not ApiToken.objects.filter(unexpired, digest=digest, user__is_active=True, scopes__contains=[scope]).exists():
        raise TokenInvalid("The token is not valid.")


def actor(user: User | AnonymousUser, token: ApiToken | None = None) -> str:
    """The name under which history keeps who did something."""
    return f"token:{token.name}" if token is not None else f"user:{user.get_username()}"
