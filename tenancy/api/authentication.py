"""Bearer tokens (RFC 6750) over knox's hashed token model, the default permission of views, and what few tokens read.

DRF imports this module before its own views, so it imports none.
"""

import hashlib
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from knox.auth import TokenAuthentication as KnoxAuthentication
from knox.crypto import hash_token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from foundation.errors import CoordinatorError, NotFound
from foundation.timed_cache import TimedCache
from tenancy.access import ScopeMissing, TokenInvalid, require_scope, valid_token
from tenancy.audit.acts import Declaration, Denied, declared
from tenancy.models import ApiToken
from tenancy.roles import Scope

if TYPE_CHECKING:
    from rest_framework.views import APIView


class HoldsScope(BasePermission):
    """Permits a token of the tenant in the URL that holds the scope which the view's method declares, else `read`.

    Raises `NotFound` for another tenant, whether it exists or not, and `ScopeMissing`; or `Denied` with one of these
    if the method declares an act. Denies views whose URL contains no tenant.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        token = request.auth
        slug = view.kwargs.get("tenant")
        if not isinstance(token, ApiToken) or slug is None:
            return False
        declaration = _declaration(request, view)
        try:
            if token.tenant.slug != slug:
                raise NotFound(f"There is no tenant {slug!r}.")
            require_scope(token, declaration.scopes[0] if declaration else Scope.READ)
        except (NotFound, ScopeMissing) as refusal:
            raise denial(view, token, refusal) from None
        return True


def denial(view: "APIView", token: ApiToken, refusal: CoordinatorError) -> Exception:
    """Return the exception to raise in place of `refusal`: `Denied` if the method of the view declares an act."""
    declaration = _declaration(view.request, view)
    if declaration is None or declaration.act is None:
        return refusal
    return Denied(declaration.act, token.tenant, refusal)


def _declaration(request: Request, view: "APIView") -> Declaration | None:
    # `view.head` is `view.get`, because a response to HEAD describes what GET returns.
    return declared(getattr(view, str(request.method).lower(), None))


WITHHELD = "Null if the token lacks the scope `payloads:read`."


def withhold(members: Collection[str], shown: dict[str, Any], context: Mapping[str, Any], *also: Scope) -> None:
    """Set `members` of a representation to null if the token of the request lacks the scope `payloads:read`.

    A token with one of the scopes in `also` gets them too.
    """
    if not holds_any(context["request"].auth, Scope.PAYLOADS, *also):
        shown.update(dict.fromkeys(members))


def holds_any(token: Any, *scopes: Scope) -> bool:
    """Return True if `token` is a token that may use one of `scopes`."""
    return isinstance(token, ApiToken) and not token.usable_scopes.isdisjoint(scopes)


LAST_USE_PRECISION = timedelta(minutes=1)
cache: TimedCache[bytes, ApiToken] = TimedCache(
    seconds=lambda: float(settings.SUBMISSION_CACHE_SECONDS), most=10_000, renew_after=0.5
)
"""The tokens that submissions have used, by the SHA-256 of their text."""
_tenants: TimedCache[bytes, str] = TimedCache(seconds=60, most=10_000)
"""The tenants of tokens that were valid recently, by the same key."""


class TokenAuthentication(KnoxAuthentication):
    """Authenticates `Authorization: Bearer …` with one query; `request.auth` is the token.

    Knox would delete expired tokens. They are kept here, so that a tenant's admin sees what has expired.

    With `from_memory`, a token that was valid within SUBMISSION_CACHE_SECONDS is not looked up again. Only views whose
    writing statement verifies the token against the database may use this.
    """

    def __init__(self, *, from_memory: bool = False) -> None:
        self._from_memory = from_memory

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        if not self._from_memory:
            return self._looked_up(token)
        key = _key_of(token)
        if (cached := cache.get_or_renew(key)) is not None:
            return cached.user, cached
        looked_up_at = time.monotonic()
        user, known = self._looked_up(token)
        cache.set(key, known, since=looked_up_at)
        return user, known

    def _looked_up(self, token: bytes) -> tuple[User, ApiToken]:
        now = timezone.now()
        try:
            digest = hash_token(token.decode("ascii"))
        except (UnicodeDecodeError, TypeError, ValueError):
            raise AuthenticationFailed("The token is not valid.") from None
        try:
            # A caller cannot choose the digest of a token, so the duration of the lookup discloses nothing.
            row = valid_token(digest)
        except TokenInvalid as refusal:
            raise AuthenticationFailed(refusal.detail) from None
        _tenants.set(_key_of(token), row.tenant.slug)
        if row.last_used_at is None or row.last_used_at < now - LAST_USE_PRECISION:
            ApiToken.objects.filter(pk=row.pk).update(last_used_at=now)
        return row.user, row


def remembered(authorization: str) -> ApiToken | None:
    """Return the token in an Authorization header if `from_memory` authenticates it without a query; None otherwise."""
    scheme, _, plain = authorization.partition(" ")
    return cache.get(_key_of(plain.encode())) if scheme.lower() == "bearer" else None


def tenant_of(authorization: str) -> str | None:
    """Return the tenant of the token in an Authorization header if it was valid within the last minute.

    This is a hint about a request that is not authenticated yet. It grants nothing.
    """
    scheme, _, plain = authorization.partition(" ")
    return _tenants.get(_key_of(plain.encode())) if scheme.lower() == "bearer" else None


def _key_of(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
