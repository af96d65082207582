"""Resume tokens: signed permissions to answer one interaction. Pure."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

from wire.documents import json_writer
from wire.findings import CodedError
from wire.identity import is_identifier

LONGEST = 4096
"""How many characters a token may have."""
_KEY_ID = "keyId"
_TEXTS = ("tenantId", "interactionId", "correlationId", "executionId", "stepId")
_TIMES = ("deadlineEpochMs", "issuedAtEpochMs")


class ResumeTokenError(CodedError):
    """A token is rejected. `code` is MALFORMED, SIGNATURE, MISMATCH or EXPIRED."""


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """The content of a token: the interaction that it answers, its deadline and its issue time. Times are epoch ms."""

    tenant_id: str
    interaction_id: str
    correlation_id: str
    execution_id: str
    step_id: str
    deadline_epoch_ms: int
    issued_at_epoch_ms: int

    def sign(self, secret: str) -> str:
        """Return the signed token as text, with the id of the secret."""
        members = dict(zip((*_TEXTS, *_TIMES), astuple(self), strict=True)) | {_KEY_ID: key_id(secret)}
        payload = _encoded(json_writer.text(members).encode())
        return f"{payload}.{_signature(payload, secret)}"

    def require(self, record: "ResumeToken", *, now_epoch_ms: int) -> None:
        """Compare the token with the stored interaction. The issue time is not compared.

        Raises `ResumeTokenError` MISMATCH, or EXPIRED from the first millisecond after the deadline.
        """
        if astuple(self)[:-1] != astuple(record)[:-1]:
            raise ResumeTokenError("MISMATCH", "The resume token is for another question.")
        if now_epoch_ms > self.deadline_epoch_ms:
            raise ResumeTokenError("EXPIRED", "The resume token has expired.")


def read(token: str, secrets: Sequence[str]) -> ResumeToken:
    """Verify a token that one of `secrets` signed, and return its content.

    For a token without a key id, all of them are tried: the protocol has no key ids, and workers sign tokens too.
    Raises `ResumeTokenError` MALFORMED or SIGNATURE.
    """
    segments = token.split(".") if len(token) <= LONGEST else []
    if len(segments) != 2 or not all(part.strip() for part in segments) or not token.isascii():
        raise ResumeTokenError("MALFORMED", "A resume token has two parts with a dot between them.")
    payload, signature = segments
    named = claimed(token, _KEY_ID)
    candidates = [secret for secret in secrets if named in ("", key_id(secret))]
    if not any(hmac.compare_digest(_signature(payload, secret), signature) for secret in candidates):
        raise ResumeTokenError(
            "SIGNATURE", "The signature of the resume token is wrong, or its key is no longer valid."
        )
    members = _members(payload)
    if not _is_complete(members):
        raise ResumeTokenError("MALFORMED", "The resume token does not have the members of a resume token.")
    return ResumeToken(*(members[name] for name in (*_TEXTS, *_TIMES)))


def claimed(token: str, name: str) -> str:
    """Return the identifier in the member `name` of a token, or "" if it has none. Does not verify the token."""
    members = _members(token.partition(".")[0]) if len(token) <= LONGEST and token.isascii() else None
    value = members.get(name) if isinstance(members, dict) else None
    return value if isinstance(value, str) and is_identifier(value) else ""


def _members(payload: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None


@lru_cache(100)
def key_id(secret: str) -> str:
    """Return a short public id of a secret, which does not disclose it."""
    return derived(secret, "key-id")[:8]


def derived(secret: str, purpose: str) -> str:
    """Derive a secret for one `purpose` from a secret that must not serve two purposes itself."""
    return hmac.new(secret.encode(), f"derived:{purpose}".encode(), hashlib.sha256).hexdigest()


def webhook_key(secret: str, tenant_id: str) -> str:
    """Return the key with which a secret signs the webhooks of a tenant."""
    return derived(secret, f"webhook:{tenant_id}")


def _is_complete(members: Any) -> bool:
    return (
        isinstance(members, dict)
        and all(isinstance(members.get(name), str) for name in _TEXTS)
        and all(type(members.get(name)) is int for name in _TIMES)
    )


def _signature(payload: str, secret: str) -> str:
    return _encoded(hmac.new(secret.encode(), payload.encode("ascii"), hashlib.sha256).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
