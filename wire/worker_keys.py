"""The keys that the coordinator shares with a tenant's workers, and the signatures of requests to REST
workers. Pure; both sides share this module.
"""

import hashlib
import hmac
import json
import re
import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FIRST_GENERATION = 1
REFERENCES = ("env:", "file:")
"""How references begin, which some settings accept. A secret that begins so is a reference that nothing resolves."""
SHORTEST_REST_SECRET = 16
"""How many characters a secret has at least that all REST workers share in place of keys."""
_TEXT = re.compile(r"([1-9][0-9]{0,8})-([0-9a-f]{12})\.([0-9a-f]{64})")
_ZERO = bytes(12)


class MalformedKey(ValueError):
    """The text is not a complete worker key."""


class Undecryptable(Exception):
    """The text was not encrypted under this key for this nonce and header."""


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """A key with its id. `text` contains both; operators give it to workers.

    The id ends in a fingerprint of the secret, which detects truncated and mistyped texts.
    """

    key_id: str
    text: str = field(repr=False)
    signing: bytes = field(repr=False)
    encryption: bytes = field(repr=False)

    def signature(self, signed: bytes) -> str:
        """Return the HMAC-SHA256 of `signed` in hexadecimal."""
        return hmac.digest(self.signing, signed, "sha256").hex()

    def encrypt(self, text: str, *, nonce: str, header: bytes) -> str:
        """Encrypt `text` with AES-256-GCM, bound to `header`. Never use a `nonce` twice.

        Each nonce derives a separate AES key, which encrypts only one message. So GCM's own nonce can be constant, and
        GCM's 96-bit nonce does not limit the number of messages; only the length of `nonce` does.
        """
        return b64encode(self._cipher(nonce).encrypt(_ZERO, text.encode(), header)).decode()

    def decrypt(self, text: str, *, nonce: str, header: bytes) -> bytes:
        """Decrypt `text`. Raises `Undecryptable`."""
        try:
            return self._cipher(nonce).decrypt(_ZERO, b64decode(text, validate=True), header)
        except (ValueError, InvalidTag):
            raise Undecryptable from None

    def _cipher(self, nonce: str) -> AESGCM:
        return AESGCM(_expand(self.encryption, b"message:" + nonce.encode()))


@lru_cache(1000)
def worker_key(secret: str, tenant_id: str, generation: int = FIRST_GENERATION) -> WorkerKey:
    """Derive the key of a tenant's workers from the coordinator's `secret` (HKDF-SHA256).

    A worker has only its tenant's key. Neither the secret nor another tenant's key can be computed from it.
    """
    root = hmac.digest(b"durable-coordinator", secret.encode(), "sha256")
    info = json.dumps(["worker-key", tenant_id, generation]).encode()
    return _key(generation, _expand(root, info))


def parse_key(text: str) -> WorkerKey:
    """Return the key in the text that `coordinator worker_key` prints. Raises `MalformedKey`."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise MalformedKey("it does not have the form of a worker key")
    key = _key(int(match[1]), bytes.fromhex(match[3]))
    if key.text != text:
        raise MalformedKey("its id does not match its secret, so a part of it is wrong or missing")
    return key


def _key(generation: int, secret: bytes) -> WorkerKey:
    key_id = f"{generation}-{_expand(secret, b'key-id').hex()[:12]}"
    return WorkerKey(key_id, f"{key_id}.{secret.hex()}", _expand(secret, b"signing"), _expand(secret, b"encryption"))


def _expand(key: bytes, info: bytes) -> bytes:
    """Return the first block, 32 bytes, of HKDF-Expand with SHA-256 (RFC 5869)."""
    return hmac.digest(key, info + b"\x01", hashlib.sha256)


# --- requests to REST workers ---------------------------------------------------------------------

TIMESTAMP, NONCE, SIGNATURE = "X-TPF-Worker-Timestamp", "X-TPF-Worker-Nonce", "X-TPF-Worker-Signature"


def signature(secret: str, method: str, path: str, timestamp: str, nonce: str, body: bytes) -> str:
    """Return the signature of a request.

    `path` is the path of the protocol, without a base path.
    """
    canonical = "\n".join((method.upper(), path, timestamp, nonce, hashlib.sha256(body).hexdigest()))
    return hmac.new(secret.encode(), canonical.encode(), hashlib.sha256).hexdigest()


def signed_headers(secret: str, method: str, path: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """Return the headers of one request, with a new nonce."""
    timestamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    nonce = str(uuid.uuid4())
    headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if method == "POST" else {})
    return headers | {
        TIMESTAMP: timestamp,
        NONCE: nonce,
        SIGNATURE: signature(secret, method, path, timestamp, nonce, body),
    }


class Refused(Exception):
    """A request is rejected. The text is only for the log."""


def check_signature(
    secret: str, method: str, path: str, headers: Mapping[str, str], body: bytes, *, now: datetime, tolerance: timedelta
) -> tuple[str, datetime]:
    """Return the nonce and the time of a request with a valid signature.

    Raises `Refused`, also if the time differs from `now` by more than `tolerance`.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    timestamp, nonce, received = (lower.get(name.lower()) or "" for name in (TIMESTAMP, NONCE, SIGNATURE))
    if not (timestamp.strip() and nonce.strip() and received.strip()):
        raise Refused("a signature header is missing")
    sent = _instant(timestamp)
    if sent is None or abs(now - sent) > tolerance:
        raise Refused("the timestamp is not an instant, or too far from the present")
    expected = signature(secret, method, path, timestamp, nonce, body)
    if not hmac.compare_digest(expected.encode(), received.encode("utf-8", "surrogateescape")):
        raise Refused("the signature is wrong")
    return nonce, sent


def _instant(text: str) -> datetime | None:
    """Return the ISO 8601 instant in `text`; None for a date, a number or a time without an offset."""
    try:
        moment = datetime.fromisoformat(text) if "T" in text.upper() else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None
