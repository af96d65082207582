"""What coordinator and transition worker say to each other over the broker. Pure, and the same on both sides.

Each message is one signed envelope about one release. Its header names the identity, so that a worker can refuse
what is not meant for it before it decodes a payload. Its body contains a group of commands or outcomes as JSON text,
which is encrypted. Commands and outcomes have the members of the wire protocol, D.5 and D.6, with payloads as JSON
text.
"""

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from wire.documents.json_reader import holds_more_members, holds_more_values
from wire.identifying import SEGMENT_RULE, is_segment
from wire.identity import ReleaseIdentity
from wire.worker_keys import Undecryptable, WorkerKey

OUTCOME_QUEUE = "outcomes"
HEARTBEAT_QUEUE = "heartbeats"
EXECUTE_TASK = "pipelines.execute"
RECORD_TASK = "executions.record"
ORDER_TASK = "pipelines.order"
HEARTBEAT_TASK = "executions.heartbeat"
TOLERANCE = timedelta(minutes=2)
MOST_SEALS = 8
LONGEST_STEP_ID = 300
LONGEST_TYPE = 500
LONGEST_RECIPIENT = 200
"""An await's assignee or group."""
LONGEST_WORKER_ID = 190
"""With a prefix such as `worker:` it fits into the columns for actors and owners of leases."""
LONGEST_TRACEBACK = 4_000
LONGEST_OUTCOME = 16 * 1024**2
"""How many characters one outcome, or one checkpoint, may have as JSON."""
MOST_TOGETHER = 1_000
"""How many commands, outcomes or checkpoints one group may have."""
MOST_PAYLOADS = 400_000
"""How many outputs, or requests of an await, one outcome or checkpoint may have."""
MOST_LEASES = 10_000
"""How many leases of one kind a heartbeat or an order may name. A worker has at most as many threads."""
MOST_ERRORS = 1_000
"""How many errors of a malformed message are looked at. Each needs a few kilobytes."""


class ProtocolError(Exception):
    """A message that is refused, with a stable `code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@lru_cache(1000)
def tenant_prefix(tenant_id: str) -> str:
    """Return the prefix of the names of all queues of one tenant, for the patterns of the broker's ACLs.

    It contains a digest of fixed length, so no prefix is the beginning of another one. It contains no special
    characters of patterns.
    """
    return f"tenant.{hashlib.sha256(json.dumps(tenant_id).encode()).hexdigest()[:32]}."


@lru_cache(1000)
def queue_of(identity: ReleaseIdentity) -> str:
    """The Celery queue of one release alone. Equal identities give equal names, different ones never do."""
    text = json.dumps([identity.tenant_id, identity.pipeline_id, identity.contract_version, identity.release_version])
    return f"{tenant_prefix(identity.tenant_id)}release.{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def order_queue_of(identity: ReleaseIdentity, worker_id: str) -> str:
    """The queue of one worker of one release, for orders to it alone."""
    digest = hashlib.sha256(json.dumps([queue_of(identity), worker_id]).encode()).hexdigest()[:40]
    return f"{tenant_prefix(identity.tenant_id)}worker.{digest}"


def ticket_of(identity: ReleaseIdentity, nonce: str) -> str:
    """The broker key of the ticket for one command message. Only the worker that takes the ticket runs the commands."""
    return f"{queue_of(identity)}.ticket.{nonce}"


class Wire(BaseModel):
    """A part of a message: strict, with the wire protocol's names."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        ser_json_inf_nan="null",
    )


Shape = Literal["UNI", "MULTI"]
ResultShape = Literal["SINGLE", "MATERIALIZED_MULTI"]
WorkerState = Literal["HEALTHY", "DRAINING", "UNAVAILABLE"]


def _segment(text: str) -> str:
    if not is_segment(text):
        raise ValueError(SEGMENT_RULE)
    return text


# What ends up in a column: bounded as the column is, and without the one character that PostgreSQL cannot keep.
Identity = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
WorkerId = Annotated[str, Field(max_length=LONGEST_WORKER_ID), AfterValidator(_segment)]
_TransitionKey = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
_Version = Annotated[int, Field(ge=0, lt=2**63)]
# Reading stops at the first bad item: an error for each of them would need far more memory than the message.
_Item = TypeVar("_Item")
_Together = Annotated[list[_Item], Field(max_length=MOST_TOGETHER, fail_fast=True)]
_Leases = Annotated[list[_Item], Field(max_length=MOST_LEASES, fail_fast=True)]
_Payloads = Annotated[list[str], Field(max_length=MOST_PAYLOADS, fail_fast=True)]


Kind = Literal["commands", "outcomes", "heartbeat", "order"]


class Seal(Wire):
    """The body under one key: encrypted if `encrypted`, else as JSON text.

    `signature` is an HMAC-SHA256 of the envelope's header and all other members of the seal.
    """

    key_id: str = Field(max_length=40)
    encrypted: bool
    body: str
    signature: str


class Envelope(Wire):
    """A header and the sealed body, with one seal per active key of the tenant."""

    protocol_version: Literal["1"] = "1"
    kind: Kind
    tenant_id: Identity
    pipeline_id: Identity
    contract_version: Identity
    release_version: Identity
    timestamp: str
    nonce: str = Field(min_length=1, max_length=100)
    seals: list[Seal] = Field(min_length=1, max_length=MOST_SEALS, fail_fast=True)

    @property
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(self.tenant_id, self.pipeline_id, self.contract_version, self.release_version)


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


class Command(Wire):
    """One transition to run (wire protocol D.5). `stop_before_step_index` -1 means to the end.

    `checkpoints` asks to be told what each step gave, while the transition goes on.
    `payload` is JSON text: one value when `shape` is UNI, a list of them when it is MULTI.
    """

    execution_id: uuid.UUID
    current_step_index: int = Field(ge=0)
    stop_before_step_index: int = Field(ge=-1)
    checkpoints: bool = False
    attempt: int = Field(ge=0)
    result_shape: ResultShape
    execution_version: _Version
    transition_key: _TransitionKey
    lease_token: uuid.UUID
    lease_seconds: float
    shape: Shape
    payload: str


class CommandGroup(Wire):
    commands: _Together[Command] = Field(min_length=1)


class Failure(Wire):
    """Why a transition failed. The worker sets `retryable`, because only the worker knows the exception's class.

    `traceback` is empty if there was no exception.
    """

    failure_class: str
    message: str
    retryable: bool
    step_index: int | None = None
    traceback: str = ""


class Suspension(Wire):
    """An await that was reached: what to ask, how, and what comes back. `requests` are JSON texts.

    There is one request for an `itemized` unit's every item, and one in all for any other. `gives_many`: the answers
    are a stream to the next step. `transport_metadata` is the transport's own, such as a webhook's `url`.
    """

    step_index: int = Field(ge=0)
    step_id: str = Field(min_length=1, max_length=LONGEST_STEP_ID)
    itemized: bool
    gives_many: bool
    requests: _Payloads = Field(min_length=1)
    request_shape: Shape
    output_type: str
    transport: str = Field(min_length=1, max_length=40)
    transport_metadata: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float = Field(gt=0)
    assignee: str | None = Field(default=None, max_length=LONGEST_RECIPIENT)
    group: str | None = Field(default=None, max_length=LONGEST_RECIPIENT)


class Outcome(Wire):
    """The answer to one command (wire protocol D.6); `output_payloads` are JSON texts.

    `stopped_before_step_index` is -1 where the pipeline ran to its end, as every command asks it to.
    """

    execution_id: uuid.UUID
    execution_version: _Version
    lease_token: uuid.UUID
    transition_key: _TransitionKey
    outcome: Literal["COMPLETED", "WAITING_EXTERNAL", "FAILED"]
    output_payloads: _Payloads = Field(default_factory=list)
    stopped_before_step_index: int = Field(default=-1, ge=-1)
    suspension: Suspension | None = None
    failure: Failure | None = None


class Checkpoint(Wire):
    """What the step of `next_step_index` starts from: a running transition has everything before it behind itself.

    The outputs are JSON texts, a stream where `many`.
    """

    execution_id: uuid.UUID
    execution_version: _Version
    lease_token: uuid.UUID
    transition_key: _TransitionKey
    next_step_index: int = Field(ge=1, lt=2**31)
    output_payloads: _Payloads
    many: bool = False


class OutcomeGroup(Wire):
    """What became of commands, and how far others have come."""

    worker_id: WorkerId
    outcomes: _Together[Outcome] = Field(default_factory=list)
    checkpoints: _Together[Checkpoint] = Field(default_factory=list)

    @model_validator(mode="after")
    def _tells_something(self) -> Self:
        if not self.outcomes and not self.checkpoints:
            raise ValueError("a group tells of one command at least")
        return self


class HeldLease(Wire):
    """A lease that a worker holds. `seconds` is how long its transition has been running, or waiting for a thread."""

    execution_id: uuid.UUID
    lease_token: uuid.UUID
    seconds: float = Field(default=0, ge=0, le=10**9, allow_inf_nan=False)


class Heartbeat(Wire):
    """A worker's heartbeat. It registers the worker, and renews the leases that the worker holds.

    `capacity` is how many transitions it can run at once; `taking`, whether it takes commands, as it was last ordered.
    A worker that does not report it supports no orders, and takes commands. `answered` is false until the worker has
    had an order. `transition_seconds` is how long a transition takes on average; null while unknown.

    `running` are the transitions that a thread has begun, `waiting` those whose command waits in the worker for a
    thread. `abandoned` counts the threads that still run a transition whose lease is known to be lost.
    """

    worker_id: WorkerId
    state: WorkerState
    capacity: int = Field(ge=1, le=10_000)
    artifact_id: Identity = ""
    artifact_digest: Identity = ""
    taking: bool = True
    answered: bool = True
    transition_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    running: _Leases[HeldLease] = Field(default_factory=list)
    waiting: _Leases[HeldLease] = Field(default_factory=list)
    abandoned: int = Field(default=0, ge=0, le=10_000)


class Order(Wire):
    """The coordinator's order to one worker. With `drain` it finishes its commands and accepts no more.

    `lost_leases` are the tokens of leases that the worker holds and that no longer count: the execution was cancelled,
    or another worker took it over.
    """

    worker_id: WorkerId
    drain: bool
    lost_leases: _Leases[uuid.UUID] = Field(default_factory=list)


Body = TypeVar("Body", CommandGroup, OutcomeGroup, Heartbeat, Order)
KINDS: dict[type[BaseModel], Kind] = {
    CommandGroup: "commands",
    OutcomeGroup: "outcomes",
    Heartbeat: "heartbeat",
    Order: "order",
}


ENCRYPTED = frozenset({"commands", "outcomes"})
"""The kinds that carry payloads."""
MOST_BODY_VALUES: dict[Kind, int] = {"commands": 20_000, "outcomes": 500_000, "heartbeat": 100_000, "order": 20_000}
"""How many JSON values the body of a message may have. A payload is one value, because it is JSON text."""
MOST_BODY_MEMBERS = 100_000
"""How many members all objects of a body may have. Each unknown one becomes an error, which needs much memory."""


def seal(
    identity: ReleaseIdentity,
    body: CommandGroup | OutcomeGroup | Heartbeat | Order,
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
    return {**header, "seals": [seal_of(header, text, key, encrypt=encrypt and kind in ENCRYPTED) for key in keys]}


def seal_of(header: Mapping[str, str], body: str, key: WorkerKey, *, encrypt: bool) -> dict[str, Any]:
    """Seal `body` under `key` and bind it to `header`, whose nonce must be used only once."""
    bound = _canonical(header)
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
        found = next((each for each in envelope.seals if each.key_id in keys), None)
        if found is None:
            ids = ", ".join(each.key_id for each in envelope.seals)
            text = f"An envelope for {envelope.identity} is sealed with {ids}, which is no active key of the tenant."
            raise ProtocolError("KEY_NOT_ACTIVE", text)
        key = keys[found.key_id]
        bound = _canonical({name: value for name, value in message.items() if name != "seals"})
        expected = key.signature(_signed(bound, found.key_id, found.encrypted, found.body))
        if not hmac.compare_digest(expected.encode(), found.signature.encode()):
            raise ProtocolError("SIGNATURE_INVALID", f"The signature of an envelope for {envelope.identity} is wrong.")
    except ValidationError as error:
        raise ProtocolError("ENVELOPE_MALFORMED", _brief(error)) from None
    except UnicodeEncodeError:
        raise ProtocolError("ENVELOPE_MALFORMED", "The envelope holds a lone surrogate.") from None
    return Verified(envelope, found, key, bound)


def decode(verified: Verified, body: type[Body]) -> Body:
    """The body of a verified envelope. Raises `ProtocolError` ENVELOPE_MALFORMED."""
    kind, sealed = verified.envelope.kind, verified.seal
    if kind != KINDS[body]:
        raise ProtocolError("ENVELOPE_MALFORMED", f"An envelope of kind {kind!r} came where {KINDS[body]!r} belongs.")
    try:
        if sealed.encrypted:
            text = verified.key.decrypt(sealed.body, nonce=verified.envelope.nonce, header=verified.bound)
        else:
            text = sealed.body.encode()
        if holds_more_values(text, MOST_BODY_VALUES[kind]):
            raise ProtocolError("ENVELOPE_MALFORMED", f"The body holds more than {MOST_BODY_VALUES[kind]:,} values.")
        if holds_more_members(text, MOST_BODY_MEMBERS):
            raise ProtocolError("ENVELOPE_MALFORMED", f"The body holds more than {MOST_BODY_MEMBERS:,} members.")
        return body.model_validate_json(text)
    except Undecryptable:
        raise ProtocolError("ENVELOPE_MALFORMED", "The body cannot be decrypted.") from None
    except ValidationError as error:
        raise ProtocolError("ENVELOPE_MALFORMED", _brief(error)) from None


def check_fresh(verified: Verified, *, now: datetime, longest: timedelta = TOLERANCE) -> datetime:
    """The time of sending. Raises `ProtocolError` TIMESTAMP_REFUSED when it is further than `longest` from `now`."""
    try:
        sent = datetime.fromisoformat(verified.envelope.timestamp)
    except ValueError:
        raise ProtocolError("TIMESTAMP_REFUSED", "The envelope's timestamp is not an ISO 8601 instant.") from None
    if sent.tzinfo is None or abs(now - sent) > longest:
        raise ProtocolError("TIMESTAMP_REFUSED", f"The envelope's timestamp is not within {longest} of the present.")
    return sent


def transition_key(execution_id: uuid.UUID | str, step_index: int, attempt: int) -> str:
    """Wire protocol E.4: a lease takeover repeats the key, a retry does not."""
    return f"{execution_id}:{step_index}:{attempt}"


def _canonical(header: Mapping[str, str]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _signed(bound: bytes, key_id: str, encrypted: bool, body: str) -> bytes:
    """Return the bytes to sign. No part contains a line break, so different envelopes never give equal bytes."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    return b"\n".join((bound, key_id.encode(), b"encrypted" if encrypted else b"plain", digest.encode()))


def _brief(error: ValidationError) -> str:
    if error.error_count() > MOST_ERRORS:
        return f"There are {error.error_count():,} errors."
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
