"""Bearer tokens (RFC 6750) over knox's hashed token model."""

import hashlib
import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from knox.auth import TokenAuthentication as KnoxAuthentication
from knox.crypto import hash_token
from rest_framework.exceptions import AuthenticationFailed

from tenancy.access import TokenInvalid, valid_token
from tenancy.models import ApiToken

LAST_USE_PRECISION = timedelta(minutes=1)
MOST_REMEMBERED = 10_000
_remembered: dict[bytes, "_Remembered"] = {}


@dataclass(slots=True)
class _Remembered:
    """A token from the database. The first request after half of its time sets `renewing` and looks it up again.

    Until that lookup ends, other requests use the old entry for the rest of the time.
    """

    at: float
    token: ApiToken
    renewing: bool = False

    def good(self) -> bool:
        age = time.monotonic() - self.at
        return age < settings.SUBMISSION_CACHE_SECONDS / (1 if self.renewing else 2)


class TokenAuthentication(KnoxAuthentication):
    """Authenticates `Authorization: Bearer …` in one query. `request.auth` is the token.

    Unlike knox's, it does not delete expired tokens, so that the admin still shows them. With `from_memory`, a token
    that was valid within SUBMISSION_CACHE_SECONDS is not looked up again. Only views whose INSERT or UPDATE itself
    checks the token may use that.
    """

    def __init__(self, *, from_memory: bool = False) -> None:
        self._from_memory = from_memory

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        if not self._from_memory:
            return self._looked_up(token)
        key = _key_of(token)
        kept = _remembered.get(key)
        if kept is not None and kept.good():
            return kept.token.user, kept.token
        if kept is not None:
            kept.renewing = True
        looked_up_at = time.monotonic()
        user, found = self._looked_up(token)
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = _Remembered(looked_up_at, found)
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
        if found.last_used_at is None or found.last_used_at < now - LAST_USE_PRECISION:
            ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
        return found.user, found


def remembered(authorization: str) -> ApiToken | None:
    """Return the token of an Authorization header if `from_memory` would accept it without a query, else None."""
    scheme, _, plain = authorization.partition(" ")
    kept = _remembered.get(_key_of(plain.encode())) if scheme.lower() == "bearer" else None
    return kept.token if kept is not None and kept.good() else None


def _key_of(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def forget_tokens() -> None:
    _remembered.clear()
