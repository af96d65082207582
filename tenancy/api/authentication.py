"""Bearer tokens (RFC 6750) over knox's hashed token model."""

import hashlib
import time
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from knox.auth import TokenAuthentication as KnoxAuthentication
from knox.crypto import hash_token
from rest_framework.exceptions import AuthenticationFailed

from foundation.timed_cache import TimedCache
from tenancy.access import TokenInvalid, valid_token
from tenancy.models import ApiToken

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
        user, found = self._looked_up(token)
        cache.set(key, found, since=looked_up_at)
        return user, found

    def _looked_up(self, token: bytes) -> tuple[User, ApiToken]:
        now = timezone.now()
        try:
            digest = hash_token(token.decode("ascii"))
        except (UnicodeDecodeError, TypeError, ValueError):
            raise AuthenticationFailed("The token is not valid.") from None
        try:
            # A caller cannot choose the digest of a token, so the duration of the lookup discloses nothing.
            found = valid_token(digest)
        except TokenInvalid as refusal:
            raise AuthenticationFailed(refusal.detail) from None
        _tenants.set(_key_of(token), found.tenant.slug)
        if found.last_used_at is None or found.last_used_at < now - LAST_USE_PRECISION:
            ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
        return found.user, found


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
