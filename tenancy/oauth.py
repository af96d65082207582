"""Verifies OAuth 2.0 bearer tokens: signed JWTs of one issuer, in the form of RFC 9068.

The issuer's public keys are a JWK set (RFC 7517), fetched from OAUTH_JWKS_URL and cached in the process. They are
fetched again when they are REFRESH_SECONDS old, and when a token names an unknown key, because the issuer may have
added it. Two attempts are at least PAUSE_SECONDS apart, so invalid tokens cannot make the coordinator flood the issuer.
While the issuer is down, its keys stay usable for LONGEST_SECONDS.
"""

import json
import logging
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.conf import settings
from jwt import PyJWK, PyJWTError

from coordinator_client.errors import Broken, NotConnected, TimedOut
from foundation.errors import Unavailable
from foundation.exchange import TargetRefused, Unreachable, exchange, vet
from tenancy.access import TokenInvalid
from tenancy.roles import Scope
from wire.identity import is_identifier

log = logging.getLogger(__name__)
REFRESH_SECONDS = 600.0
LONGEST_SECONDS = 86_400.0
PAUSE_SECONDS = 10.0
CONNECT_SECONDS = 2.0
RESPONSE_SECONDS = 3.0
MAX_BYTES = 256 * 1024
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
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
LEAST_RSA_BITS: Final = 2048
_BY_TYPE: Final[Mapping[tuple[object, object], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""The algorithms of a key by its members `kty` and `crv`."""
ALGORITHMS: Final = tuple(name for names in _BY_TYPE.values() for name in names)
"""The algorithms of accepted tokens. All of them are asymmetric."""


# --- the keys of the issuer ---


class KeySetMalformed(Exception):
    """The issuer sent a response that is no JWK set."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms that it may verify: those of its type only.

    So the header of a token cannot turn a public key into the secret of an HMAC, or choose an algorithm that the key is
    not for (RFC 8725, section 3.1).
    """

    key: PublicKey
    algorithms: tuple[str, ...]


def read_key_set(document: bytes) -> dict[str, VerificationKey]:
    """Return the usable keys of a JWK set by their ids. Raises `KeySetMalformed`.

    Ignored are keys without an id, symmetric and private keys, keys that do not verify signatures, keys of other types,
    and RSA keys of less than LEAST_RSA_BITS. If two usable keys have one id, the first is used.
    """
    try:
        claims = json.loads(document)
    except (ValueError, RecursionError):
        raise KeySetMalformed("the key set is not JSON") from None
    entries = claims.get("keys") if isinstance(claims, dict) else None
    if not isinstance(entries, list):
        raise KeySetMalformed("the key set has no array of keys")
    keys: dict[str, VerificationKey] = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("kid"), str):
            key = _usable(entry)
            if key is not None:
                keys.setdefault(entry["kid"], key)
    return keys


def _usable(entry: dict[str, Any]) -> VerificationKey | None:
    algorithms = _algorithms(entry)
    if not algorithms or not _verifies(entry):
        return None
    try:
        key = PyJWK(entry, algorithms[0]).key
    except PyJWTError:
        return None
    if not isinstance(key, PublicKey) or (isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS):
        return None
    return VerificationKey(key, algorithms)


def _algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the algorithms of the key's type; if the key names its algorithm, only this one."""
    kind = entry.get("kty")
    curve = None if kind == "RSA" else entry.get("crv")
    named = entry.get("alg")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return ()
    return tuple(name for name in _BY_TYPE.get((kind, curve), ()) if named in (None, name))


def _verifies(entry: dict[str, Any]) -> bool:
    operations = entry.get("key_ops")
    return entry.get("use") in (None, "sig") and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )


class IssuerUnavailable(Unavailable, title="The keys of the OAuth issuer are unavailable"):
    """Repeat the request after `Retry-After`. Check that the coordinator can reach the issuer."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The issuer's keys by their ids. `at` is a time of the monotonic clock."""

    keys: Mapping[str, VerificationKey]
    at: float

    @property
    def age(self) -> float:
        return time.monotonic() - self.at


class KeyCache:
    """The keys of the configured issuer. Safe to use from many threads."""

    def __init__(self) -> None:
        self._fetching = threading.Lock()
        self._fetched: _Fetched | None = None
        self._attempted_at = -math.inf

    def find(self, key_id: str) -> VerificationKey | None:
        """Return the key with this id; None if the issuer has no such key. Raises `IssuerUnavailable`.

        May call the issuer, so do not call this inside a transaction. One thread fetches. The others wait only if they
        need a key that is not cached.
        """
        fetched = self._usable()
        if fetched is None or key_id not in fetched.keys:
            fetched = self._refreshed(wait=True)
        elif fetched.age >= REFRESH_SECONDS:
            fetched = self._refreshed(wait=False)
        if fetched is None:
            raise IssuerUnavailable("The keys of the OAuth issuer cannot be fetched. Try again.")
        return fetched.keys.get(key_id)

    def clear(self) -> None:
        """Forget the keys and the last attempt."""
        self._fetched = None
        self._attempted_at = -math.inf

    def _usable(self) -> _Fetched | None:
        fetched = self._fetched
        return fetched if fetched is not None and fetched.age < LONGEST_SECONDS else None

    def _refreshed(self, *, wait: bool) -> _Fetched | None:
        """Return the usable keys, after an attempt to fetch them unless the last attempt was too recent."""
        if self._fetching.acquire(blocking=wait):
            try:
                if time.monotonic() - self._attempted_at >= PAUSE_SECONDS:
                    self._fetch()
            finally:
                self._fetching.release()
        return self._usable()

    def _fetch(self) -> None:
        began = time.monotonic()
        try:
            self._fetched = _Fetched(read_key_set(_document()), began)
        except (TargetRefused, Unreachable, NotConnected, TimedOut, Broken, KeySetMalformed) as error:
            log.warning("the keys of the OAuth issuer cannot be fetched: %s", error)
        finally:
            self._attempted_at = time.monotonic()


cache = KeyCache()
"""The keys that this process uses."""


def _document() -> bytes:
    target = vet(settings.OAUTH_JWKS_URL, allowed=settings.OAUTH_ALLOWED_NETWORKS)
    response = exchange(
        target,
        "GET",
        b"",
        headers={"Accept": "application/jwk-set+json, application/json", "User-Agent": "durable-coordinator"},
        connect_seconds=CONNECT_SECONDS,
        seconds=RESPONSE_SECONDS,
        limit=MAX_BYTES,
        ca_file=settings.OAUTH_CA_FILE,
    )
    if response.status != 200:
        raise KeySetMalformed(f"the issuer responded with status {response.status}")
    if not response.complete:
        raise KeySetMalformed(f"the response has more than {MAX_BYTES} bytes")
    return response.body


# --- tokens ---


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
    key = cache.find(key_id)
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
    scopes = {scope for scope in Scope if scope.value in granted}
    mapped = {Scope(scope) for name in granted for scope in settings.OAUTH_SCOPES.get(name, ())}
    return frozenset(scopes | mapped)


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
