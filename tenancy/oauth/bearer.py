"""Verifies OAuth 2.0 bearer tokens: signed JWTs of one issuer, in the form of RFC 9068."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from django.conf import settings

from tenancy.access import TokenInvalid
from tenancy.oauth import keys
from tenancy.oauth.keys import ALGORITHMS, VerificationKey
from tenancy.roles import Scope
from wire.identity import is_identifier

MAX_CHARACTERS: Final = 8192
"""The maximum length of a token."""
LEEWAY_SECONDS: Final = 30
"""The tolerated difference between the issuer's clock and ours."""
LONGEST_ACTOR: Final = 200
"""The maximum length of an actor in histories."""
REQUIRED: Final = ["iss", "aud", "exp", "sub"]
_ACTOR_PREFIX: Final = "oauth:"
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
# Tokens for other purposes, such as `logout+jwt`, have other types (RFC 8725, section 3.11).
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt", "application/jwt"})
_REASONS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.InvalidIssuerError: "The token is from another issuer.",
    jwt.InvalidSignatureError: "The signature of the token is not valid.",
    jwt.InvalidAlgorithmError: "The key of the token is not for its algorithm.",
}


@dataclass(frozen=True, slots=True)
class OAuthIdentity:
    """The holder of a verified token: who they are, where they belong, and what the token grants."""

    subject: str
    organizations: frozenset[str]
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """The name for histories. It has at most LONGEST_ACTOR characters."""
        return f"{_ACTOR_PREFIX}{self.subject}"


def is_enabled() -> bool:
    return bool(settings.OAUTH_ISSUER)


def looks_like_jwt(token: str) -> bool:
    """Return True if `token` consists of three parts in base64url, as a JWT does. API tokens of the product do not.

    The third part of an unsigned JWT is empty.
    """
    return _JWT.fullmatch(token) is not None


def identity(token: str) -> OAuthIdentity:
    """Verify `token` and return its holder.

    Raises `TokenInvalid`, which names the broken rule and never shows the token, and `IssuerUnavailable` if no keys are
    available. May call the issuer, so do not call this inside a transaction.
    """
    if not is_enabled():
        raise TokenInvalid("This coordinator accepts no OAuth tokens.")
    if len(token) > MAX_CHARACTERS:
        raise TokenInvalid(f"The token has more than {MAX_CHARACTERS} characters.")
    if not looks_like_jwt(token):
        raise TokenInvalid("The token is not a JWT.")
    key = _key_of(token)
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=key.algorithms,
            audience=settings.OAUTH_AUDIENCE,
            issuer=settings.OAUTH_ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED, "verify_sub": False},
        )
    except jwt.PyJWTError as error:
        raise TokenInvalid(_reason(error)) from None
    organizations = frozenset(_texts(claims, settings.OAUTH_ORGANIZATION_CLAIM))
    return OAuthIdentity(_subject(claims), organizations, _scopes(claims))


def _key_of(token: str) -> VerificationKey:
    """Return the key that the token names. Nothing in the token is verified yet.

    Tokens of other issuers and algorithms are refused before the issuer is asked for a key.
    """
    try:
        unverified = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise TokenInvalid("The token is not a JWT.") from None
    header = unverified["header"]
    _require(header.get("alg") in ALGORITHMS, "The algorithm of the token is not allowed.")
    kind = header.get("typ", "JWT")
    _require(isinstance(kind, str) and kind.lower() in _TYPES, "The token is not an access token.")
    issuer = unverified["payload"].get("iss")
    _require(issuer is not None, "The token has no claim 'iss'.")
    _require(issuer == settings.OAUTH_ISSUER, _REASONS[jwt.InvalidIssuerError])
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise TokenInvalid("The token does not name its key.")
    key = keys.cache.find(key_id)
    if key is None:
        raise TokenInvalid("The issuer has no key with the id that the token names.")
    return key


def _reason(error: jwt.PyJWTError) -> str:
    """Return a sentence for an error. The library's own texts can contain parts of the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"The token has no claim {error.claim!r}."
    return _REASONS.get(type(error), "The token is malformed.")


def _subject(claims: Mapping[str, Any]) -> str:
    subject, longest = claims["sub"], LONGEST_ACTOR - len(_ACTOR_PREFIX)
    if not isinstance(subject, str) or len(subject) > longest or not is_identifier(subject):
        raise TokenInvalid(f"The claim 'sub' must be a printable identifier of at most {longest} characters.")
    return subject


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Return the scopes that the claim `scope` grants, or else `scp`. Unknown scopes grant nothing."""
    texts = _texts(claims, "scope" if "scope" in claims else "scp")
    granted = {name for text in texts for name in text.split()}
    own = {scope for scope in Scope if scope.value in granted}
    mapped = {Scope(scope) for name in granted for scope in settings.OAUTH_SCOPES.get(name, ())}
    return frozenset(own | mapped)


def _texts(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of a claim that is a text or an array of texts; none if the token does not have it."""
    value = claims.get(name, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TokenInvalid(f"The claim {name!r} must be a text or an array of texts.")
    return texts


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise TokenInvalid(reason)
