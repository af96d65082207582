"""Reads the public keys of an issuer from its JWK set (RFC 7517). Pure.

Each key verifies the algorithms of its type only. So the header of a token cannot turn a public key into the secret of
an HMAC, or choose an algorithm that the key is not for (RFC 8725, section 3.1).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError

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


class KeySetMalformed(Exception):
    """A document that is not a JWK set."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms that it may verify."""

    key: PublicKey
    algorithms: tuple[str, ...]


def read(document: bytes) -> dict[str, VerificationKey]:
    """Return the usable keys of a JWK set by their ids. Raises `KeySetMalformed`.

    Ignored are keys without an id, symmetric and private keys, keys that do not verify signatures, keys of other types,
    and RSA keys of less than LEAST_RSA_BITS. If two usable keys have one id, the first is used.
    """
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        raise KeySetMalformed("the key set is not JSON") from None
    entries = found.get("keys") if isinstance(found, dict) else None
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
