"""Signed envelopes for the messages between coordinator and workers. Pure; both sides share this module.

Each message is one signed envelope about one release. Its header names the identity, so a worker can refuse a message
that is not for it before it decodes a payload. The body is JSON text with the members of `celery_messages`, and is
encrypted if it contains payloads.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeGuard, TypeVar, get_args

import pydantic_core
from pydantic import BaseModel, Field, ValidationError

from wire.documents.json_reader import holds_more_members, holds_more_values
from wire.documents.json_writer import sorted_text
from wire.findings import CodedError
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import (
    TOLERANCE,
    CommandGroup,
    Heartbeat,
    Identity,
    Instruction,
    OutcomeGroup,
    Wire,
    WorkerId,
)
from wire.worker_keys import Undecryptable, WorkerKey

MOST_SEALS = 8
"""How many seals one envelope may have."""
MOST_ERRORS = 1_000
"""How many errors of a malformed message are examined. Each needs a few kilobytes."""


class ProtocolError(CodedError):
    """A message is rejected."""


Kind = Literal["commands", "outcomes", "heartbeat", "order"]


class Seal(Wire, extra="forbid"):
    """The body under one key: encrypted if `encrypted`, else as JSON text.

    `signature` is an HMAC-SHA256 of the envelope's header and all other members of the seal.
    """

    key_id: str = Field(max_length=40)
    encrypted: bool
    body: str
    signature: str


class _About(Wire):
    """The members of a header that name its release and the message."""

    tenant_id: Identity
    pipeline_id: Identity
    contract_version: Identity
    release_version: Identity
    nonce: str = Field(min_length=1, max_length=100)

    @property
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(self.tenant_id, self.pipeline_id, self.contract_version, self.release_version)


class Envelope(_About, extra="forbid"):
    """A header and the sealed body, with one seal per active key of the tenant.

    Every version can read it, so it has exactly these members. What versions add is in the body.
    """

    protocol_version: Literal["1"] = "1"
    kind: Kind
    timestamp: str
    seals: list[Seal] = Field(min_length=1, max_length=MOST_SEALS, fail_fast=True)


@dataclass(frozen=True, slots=True)
class Verified:
    """An envelope whose `seal` has a valid signature by `key`. `bound` is its header as signed."""

    envelope: Envelope
    seal: Seal
    key: WorkerKey
    bound: bytes

    @property
    def identity(self) -> ReleaseIdentity:
        return self.envelope.identity


Body = TypeVar("Body", CommandGroup, OutcomeGroup, Heartbeat, Instruction)
KINDS: dict[type[BaseModel], Kind] = {
    CommandGroup: "commands",
    OutcomeGroup: "outcomes",
    Heartbeat: "heartbeat",
    Instruction: "order",
}


ENCRYPTED = frozenset({"commands", "outcomes"})
"""The kinds that always carry payloads. Heartbeats do if they have reports of steps, whose lines may quote them."""
MOST_BODY_VALUES: dict[Kind, int] = {"commands": 20_000, "outcomes": 500_000, "heartbeat": 100_000, "order": 20_000}
"""How many JSON values the body of a message may have. A payload is one value, because it is JSON text."""
MOST_BODY_MEMBERS = 100_000
"""How many members all objects of a body may have. Each one needs memory, even if it is ignored."""


def seal(
    identity: ReleaseIdentity,
    body: CommandGroup | OutcomeGroup | Heartbeat | Instruction,
    *keys: WorkerKey,
    encrypt: bool = True,
) -> dict[str, Any]:
    """Return an envelope with `body` sealed under each of `keys`. `encrypt` affects only bodies with payloads."""
    kind = KINDS[type(body)]
    header = {
        "protocolVersion": "1",
        "kind": kind,
        "tenantId": identity.tenant_id,
        "pipelineId": identity.pipeline_id,
        "contractVersion": identity.contract_version,
        "releaseVersion": identity.release_version,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "nonce": secrets.token_hex(16),
    }
    text = body.model_dump_json(by_alias=True)
    encrypted = encrypt and (kind in ENCRYPTED or (isinstance(body, Heartbeat) and bool(body.reports)))
    return {**header, "seals": [seal_of(header, text, key, encrypt=encrypted) for key in keys]}


def seal_of(header: Mapping[str, str], body: str, key: WorkerKey, *, encrypt: bool) -> dict[str, Any]:
    """Seal `body` under `key` and bind it to `header`, whose nonce must be used only once."""
    bound = sorted_text(header).encode()
    text = key.encrypt(body, nonce=header["nonce"], header=bound) if encrypt else body
    signature = key.signature(_signed(bound, key.key_id, encrypt, text))
    return {"keyId": key.key_id, "encrypted": encrypt, "body": text, "signature": signature}


def verify(message: Any, keys_of: Callable[[str], Iterable[WorkerKey]]) -> Verified:
    """Verify the signature of one seal of `message` and return the envelope. Does not decode the body.

    `keys_of` returns the active keys of a tenant. Raises `ProtocolError` ENVELOPE_MALFORMED, KEY_NOT_ACTIVE or
    SIGNATURE_INVALID.
    """
    try:
        envelope = Envelope.model_validate(message)
        keys = {key.key_id: key for key in keys_of(envelope.tenant_id)}
        seal = next((candidate for candidate in envelope.seals if candidate.key_id in keys), None)
        if seal is None:
            ids = ", ".join(seal.key_id for seal in envelope.seals)
            text = f"An envelope for {envelope.identity} is sealed with {ids}, which is no active key of the tenant."
            raise ProtocolError("KEY_NOT_ACTIVE", text)
        key = keys[seal.key_id]
        bound = sorted_text({name: value for name, value in message.items() if name != "seals"}).encode()
        expected = key.signature(_signed(bound, seal.key_id, seal.encrypted, seal.body))
        if not hmac.compare_digest(expected.encode(), seal.signature.encode()):
            raise ProtocolError("SIGNATURE_INVALID", f"The signature of an envelope for {envelope.identity} is wrong.")
    except ValidationError as error:
        raise ProtocolError("ENVELOPE_MALFORMED", _brief(error)) from None
    except UnicodeEncodeError:
        raise ProtocolError("ENVELOPE_MALFORMED", "The envelope contains a lone surrogate.") from None
    return Verified(envelope, seal, key, bound)


def decode(verified: Verified, body: type[Body]) -> Body:
    """Return the body of a verified envelope. Raises `ProtocolError` ENVELOPE_MALFORMED."""
    kind, sealed = verified.envelope.kind, verified.seal
    if kind != KINDS[body]:
        raise ProtocolError("ENVELOPE_MALFORMED", f"The envelope has the kind {kind!r} instead of {KINDS[body]!r}.")
    try:
        if sealed.encrypted:
            text = verified.key.decrypt(sealed.body, nonce=verified.envelope.nonce, header=verified.bound)
        else:
            text = sealed.body.encode()
        if holds_more_values(text, MOST_BODY_VALUES[kind]):
            raise ProtocolError("ENVELOPE_MALFORMED", f"The body contains more than {MOST_BODY_VALUES[kind]:,} values.")
        if holds_more_members(text, MOST_BODY_MEMBERS):
            raise ProtocolError("ENVELOPE_MALFORMED", f"The body contains more than {MOST_BODY_MEMBERS:,} members.")
        return body.model_validate_json(text)
    except Undecryptable:
        raise ProtocolError("ENVELOPE_MALFORMED", "The body cannot be decrypted.") from None
    except ValidationError as error:
        raise ProtocolError("ENVELOPE_MALFORMED", _brief(error)) from None


def check_fresh(verified: Verified, *, now: datetime, longest: timedelta = TOLERANCE) -> datetime:
    """Return the time of sending.

    Raises `ProtocolError` TIMESTAMP_REFUSED if it differs from `now` by more than `longest`.
    """
    try:
        sent = datetime.fromisoformat(verified.envelope.timestamp)
    except ValueError:
        raise ProtocolError("TIMESTAMP_REFUSED", "The envelope's timestamp is not an ISO 8601 instant.") from None
    if sent.tzinfo is None or abs(now - sent) > longest:
        raise ProtocolError("TIMESTAMP_REFUSED", f"The envelope's timestamp is not within {longest} of the present.")
    return sent


def _signed(bound: bytes, key_id: str, encrypted: bool, body: str) -> bytes:
    """Return the bytes to sign. No part contains a line break, so different envelopes never give equal bytes."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    return b"\n".join((bound, key_id.encode(), b"encrypted" if encrypted else b"plain", digest.encode()))


def _brief(error: ValidationError) -> str:
    if error.error_count() > MOST_ERRORS:
        return f"There are {error.error_count():,} errors."
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


RefusalCode = Literal[
    "KEY_NOT_ACTIVE",
    "SIGNATURE_INVALID",
    "TENANT_UNKNOWN",
    "TIMESTAMP_REFUSED",
    "ENVELOPE_MALFORMED",
    "WORKER_LIMIT_REACHED",
]


class Refusal(Wire, extra="forbid"):
    """Notifies a worker that its heartbeat with this `nonce` was refused. Unsigned, as the sides may share no key."""

    kind: Literal["refusal"] = "refusal"
    nonce: str = Field(min_length=1, max_length=100)
    code: RefusalCode


def refusable(code: str) -> TypeGuard[RefusalCode]:
    """Return True if `code` is a code of refusals."""
    return code in get_args(RefusalCode)


def refusal_of(message: Any) -> Refusal | None:
    """Return the refusal in `message`, which is unsigned; None if `message` is not a refusal."""
    try:
        return Refusal.model_validate(message)
    except ValidationError:
        return None


LONGEST_BODY = 1024**2
"""The number of characters of an unverified body that are read for the name of the worker."""


class Sender(_About):
    """The sender that a message names, unverified. Used to log a refusal and to send a notice.

    `worker_id` is None if the body is encrypted.
    """

    worker_id: WorkerId | None


def sender_of(message: Any) -> Sender | None:
    """Return the sender that `message` names; None if it names none. Does not check the signature."""
    try:
        sealed = message["seals"][0]
        worker_id = None if sealed["encrypted"] else _worker_id(sealed["body"])
        return Sender.model_validate({**message, "workerId": worker_id})
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _worker_id(body: Any) -> Any:
    """Return the worker that an unverified body names. Raises ValueError, TypeError or KeyError."""
    if (
        not isinstance(body, str)
        or len(body) > LONGEST_BODY
        or holds_more_values(body.encode(), MOST_BODY_VALUES["heartbeat"])
    ):
        raise ValueError("The body is not a text, or too large to be read unverified.")
    return pydantic_core.from_json(body)["workerId"]
