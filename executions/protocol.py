"""What coordinator and transition worker say to each other over the broker. Pure, and the same on both sides.

Each message is one signed envelope about one release. Its header names the identity, so that a worker can refuse
what is not meant for it before it decodes a payload; its body carries a group of commands or outcomes as JSON text.
The members of commands and outcomes are those of the wire protocol, D.5 and D.6, with payloads as plain JSON text.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeGuard, TypeVar, get_args

import pydantic_core
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from coordinator.identifying import SEGMENT_RULE, is_segment
from releases.identity import ReleaseIdentity

OUTCOME_QUEUE = "outcomes"
EXECUTE_TASK = "pipelines.execute"
RECORD_TASK = "executions.record"
ORDER_TASK = "pipelines.order"
HEARTBEAT_TASK = "executions.heartbeat"
TOLERANCE = timedelta(minutes=2)
LONGEST_STEP_ID = 300
LONGEST_TYPE = 500
LONGEST_RECIPIENT = 200
"""An await's assignee or group."""
LONGEST_TRACEBACK = 4_000
LONGEST_OUTCOME = 16 * 1024**2
"""How many characters one outcome, or one checkpoint, may have as JSON."""


class ProtocolError(Exception):
    """A message that is refused, with a stable `code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@lru_cache(1000)
def queue_of(identity: ReleaseIdentity) -> str:
    """The Celery queue of one release alone. Equal identities give equal names, different ones never do."""
    text = json.dumps([identity.tenant_id, identity.pipeline_id, identity.contract_version, identity.release_version])
    return "release." + hashlib.sha256(text.encode()).hexdigest()[:40]


def order_queue_of(identity: ReleaseIdentity, worker_id: str) -> str:
    """The queue of one worker of one release, for orders to it alone."""
    return "worker." + hashlib.sha256(json.dumps([queue_of(identity), worker_id]).encode()).hexdigest()[:40]


class _Wire(BaseModel):
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
_Identity = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
_WorkerId = Annotated[str, Field(max_length=150), AfterValidator(_segment)]
_TransitionKey = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
_Version = Annotated[int, Field(ge=0, lt=2**63)]


Kind = Literal["commands", "outcomes", "heartbeat", "order"]


class Envelope(_Wire):
    """The header and signature around a body. `signature` is HMAC-SHA256 over all other members."""

    protocol_version: Literal["1"] = "1"
    kind: Kind
    tenant_id: _Identity
    pipeline_id: _Identity
    contract_version: _Identity
    release_version: _Identity
    timestamp: str
    nonce: str = Field(min_length=1, max_length=100)
    body: str
    signature: str

    @property
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(self.tenant_id, self.pipeline_id, self.contract_version, self.release_version)


class Command(_Wire):
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


class CommandGroup(_Wire):
    commands: list[Command] = Field(min_length=1)


class Failure(_Wire):
    """Why a transition failed. The worker sets `retryable`, because only the worker knows the exception's class.

    `traceback` is empty if there was no exception.
    """

    failure_class: str
    message: str
    retryable: bool
    step_index: int | None = None
    traceback: str = ""


class Suspension(_Wire):
    """An await that was reached: what to ask, how, and what comes back. `requests` are JSON texts.

    There is one request for an `itemized` unit's every item, and one in all for any other. `gives_many`: the answers
    are a stream to the next step. `transport_metadata` is the transport's own, such as a webhook's `url`.
    """

    step_index: int = Field(ge=0)
    step_id: str = Field(min_length=1, max_length=LONGEST_STEP_ID)
    itemized: bool
    gives_many: bool
    requests: list[str] = Field(min_length=1)
    request_shape: Shape
    output_type: str
    transport: str = Field(min_length=1, max_length=40)
    transport_metadata: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float = Field(gt=0)
    assignee: str | None = Field(default=None, max_length=LONGEST_RECIPIENT)
    group: str | None = Field(default=None, max_length=LONGEST_RECIPIENT)


class Outcome(_Wire):
    """The answer to one command (wire protocol D.6); `output_payloads` are JSON texts.

    `stopped_before_step_index` is -1 where the pipeline ran to its end, as every command asks it to.
    """

    execution_id: uuid.UUID
    execution_version: _Version
    lease_token: uuid.UUID
    transition_key: _TransitionKey
    outcome: Literal["COMPLETED", "WAITING_EXTERNAL", "FAILED"]
    output_payloads: list[str] = Field(default_factory=list)
    stopped_before_step_index: int = Field(default=-1, ge=-1)
    suspension: Suspension | None = None
    failure: Failure | None = None


class Checkpoint(_Wire):
    """What the step of `next_step_index` starts from: a running transition has everything before it behind itself.

    The outputs are JSON texts, a stream where `many`.
    """

    execution_id: uuid.UUID
    execution_version: _Version
    lease_token: uuid.UUID
    transition_key: _TransitionKey
    next_step_index: int = Field(ge=1, lt=2**31)
    output_payloads: list[str]
    many: bool = False


class OutcomeGroup(_Wire):
    """What became of commands, and how far others have come."""

    worker_id: _WorkerId
    outcomes: list[Outcome] = Field(default_factory=list)
    checkpoints: list[Checkpoint] = Field(default_factory=list)

    @model_validator(mode="after")
    def _tells_something(self) -> Self:
        if not self.outcomes and not self.checkpoints:
            raise ValueError("a group tells of one command at least")
        return self


class HeldLease(_Wire):
    """A lease that a worker holds. `seconds` is how long its transition has been running, or waiting for a thread."""

    execution_id: uuid.UUID
    lease_token: uuid.UUID
    seconds: float = Field(default=0, ge=0, le=10**9, allow_inf_nan=False)


class Heartbeat(_Wire):
    """A worker's heartbeat. It registers the worker, and renews the leases that the worker holds.

    `capacity` is how many transitions it can run at once; `taking`, whether it takes commands, as it was last ordered.
    A worker that does not report it supports no orders, and takes commands. `answered` is false until the worker has
    had an order. `transition_seconds` is how long a transition takes on average; null while unknown.

    `running` are the transitions that a thread has begun, `waiting` those whose command waits in the worker for a
    thread. `abandoned` counts the threads that still run a transition whose lease is known to be lost.
    """

    worker_id: _WorkerId
    state: WorkerState
    capacity: int = Field(ge=1, le=10_000)
    artifact_id: _Identity = ""
    artifact_digest: _Identity = ""
    taking: bool = True
    answered: bool = True
    transition_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    running: list[HeldLease] = Field(default_factory=list)
    waiting: list[HeldLease] = Field(default_factory=list)
    abandoned: int = Field(default=0, ge=0, le=10_000)


class Order(_Wire):
    """The coordinator's order to one worker. With `drain` it finishes its commands and accepts no more.

    `lost_leases` are the tokens of leases that the worker holds and that no longer count: the execution was cancelled,
    or another worker took it over.
    """

    worker_id: _WorkerId
    drain: bool
    lost_leases: list[uuid.UUID] = Field(default_factory=list)


class Sender(_Wire):
    """The sender that a message names, unverified. It is used to log who is refused and to answer."""

    model_config = ConfigDict(extra="ignore")

    tenant_id: _Identity
    pipeline_id: _Identity
    contract_version: _Identity
    release_version: _Identity
    nonce: str = Field(min_length=1, max_length=100)
    worker_id: _WorkerId

    @property
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(self.tenant_id, self.pipeline_id, self.contract_version, self.release_version)


def sender_of(message: Any) -> Sender | None:
    """Return the sender that `message` names; None if it names none. Does not check the signature."""
    try:
        body = pydantic_core.from_json(message["body"])
        return Sender.model_validate({**message, "workerId": body["workerId"]})
    except (ValueError, TypeError, KeyError):
        return None


RefusalCode = Literal["SIGNATURE_INVALID", "TENANT_UNKNOWN", "TIMESTAMP_REFUSED", "ENVELOPE_MALFORMED"]


class Refusal(_Wire):
    """Notifies a worker that its heartbeat with this `nonce` was refused. Unsigned: the two sides may share no key."""

    kind: Literal["refusal"] = "refusal"
    nonce: str = Field(min_length=1, max_length=100)
    code: RefusalCode


def refusable(code: str) -> TypeGuard[RefusalCode]:
    """Return True if a refusal can give this reason."""
    return code in get_args(RefusalCode)


Body = TypeVar("Body", CommandGroup, OutcomeGroup, Heartbeat, Order)
KINDS: dict[type[BaseModel], Kind] = {
    CommandGroup: "commands",
    OutcomeGroup: "outcomes",
    Heartbeat: "heartbeat",
    Order: "order",
}


@lru_cache(1000)
def worker_key(secret: str, tenant_id: str) -> str:
    """The key that signs between the coordinator and the workers of one tenant.

    It is derived, so that a tenant's worker holds nothing with which it could speak for another tenant.
    """
    return hmac.new(secret.encode(), b"worker-key:" + tenant_id.encode(), hashlib.sha256).hexdigest()


def seal(identity: ReleaseIdentity, body: CommandGroup | OutcomeGroup | Heartbeat | Order, key: str) -> dict[str, Any]:
    """`body` in a signed envelope, ready for the broker."""
    header = {
        "protocolVersion": "1",
        "kind": KINDS[type(body)],
        "tenantId": identity.tenant_id,
        "pipelineId": identity.pipeline_id,
        "contractVersion": identity.contract_version,
        "releaseVersion": identity.release_version,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "nonce": str(uuid.uuid4()),
    }
    text = body.model_dump_json(by_alias=True)
    return {**header, "body": text, "signature": _signature(header, text, key)}


def verify(message: Any, key_of: Callable[[str], str]) -> Envelope:
    """The envelope in `message`, its signature checked; the body is not decoded.

    `key_of` gives a tenant's key. Raises `ProtocolError` ENVELOPE_MALFORMED or SIGNATURE_INVALID.
    """
    try:
        envelope = Envelope.model_validate(message)
    except ValidationError as error:
        raise ProtocolError("ENVELOPE_MALFORMED", _brief(error)) from None
    try:
        header = {name: value for name, value in message.items() if name not in {"body", "signature"}}
        expected = _signature(header, envelope.body, key_of(envelope.tenant_id)).encode()
        signature = envelope.signature.encode()
    except UnicodeEncodeError:
        raise ProtocolError("ENVELOPE_MALFORMED", "The envelope holds a lone surrogate.") from None
    if not hmac.compare_digest(expected, signature):
        raise ProtocolError("SIGNATURE_INVALID", f"The signature of an envelope for {envelope.identity} is wrong.")
    return envelope


def decode(envelope: Envelope, body: type[Body]) -> Body:
    """The body of a verified envelope. Raises `ProtocolError` ENVELOPE_MALFORMED."""
    if envelope.kind != KINDS[body]:
        raise ProtocolError(
            "ENVELOPE_MALFORMED", f"An envelope of kind {envelope.kind!r} came where {KINDS[body]!r} belongs."
        )
    try:
        return body.model_validate_json(envelope.body)
    except ValidationError as error:
        raise ProtocolError("ENVELOPE_MALFORMED", _brief(error)) from None


def check_fresh(envelope: Envelope, *, now: datetime, longest: timedelta = TOLERANCE) -> datetime:
    """The time of sending. Raises `ProtocolError` TIMESTAMP_REFUSED when it is further than `longest` from `now`."""
    try:
        sent = datetime.fromisoformat(envelope.timestamp)
    except ValueError:
        raise ProtocolError("TIMESTAMP_REFUSED", "The envelope's timestamp is not an ISO 8601 instant.") from None
    if sent.tzinfo is None or abs(now - sent) > longest:
        raise ProtocolError("TIMESTAMP_REFUSED", f"The envelope's timestamp is not within {longest} of the present.")
    return sent


def refusal_of(message: Any) -> Refusal | None:
    """Return the refusal in `message`, which is unsigned; None if `message` is not a refusal."""
    try:
        return Refusal.model_validate(message)
    except ValidationError:
        return None


def transition_key(execution_id: uuid.UUID | str, step_index: int, attempt: int) -> str:
    """Wire protocol E.4: a lease takeover repeats the key, a retry does not."""
    return f"{execution_id}:{step_index}:{attempt}"


def _signature(header: Mapping[str, Any], body: str, key: str) -> str:
    signed = {**header, "bodySha256": hashlib.sha256(body.encode()).hexdigest()}
    canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"))
    return hmac.new(key.encode(), canonical.encode(), hashlib.sha256).hexdigest()


def _brief(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
