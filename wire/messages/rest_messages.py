"""The messages between coordinator and REST workers. Pure; both sides share this module.

One request contains one command, and its response the result. Both sides accept members that they do not know, because
the other side may be of a later version (ADR 80). Known members are read strictly. A missing number reads as 0 and a
missing flag as false. A missing text is an error if it is required.
"""

import hashlib
import json
import uuid
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from wire.documents.contract import ResultShape
from wire.documents.json_reader import MOST_VALUES, holds_more_values
from wire.documents.shape import Flag, null_as
from wire.messages.celery_messages import ItemPolicies, StepReport, StepTimeouts
from wire.messages.payload_envelopes import TypedPayload

EXECUTE_PATH = "/pipeline/worker/transitions/execute"
CAPABILITIES_PATH = "/pipeline/worker/capabilities"
PROTOCOL_VERSION = "1"
READS_REPORTS = "X-Pipelines-Reads-Reports"
"""A header of a request to execute a command: its sender reads `stepReport` in the result. Earlier versions and those
of `/tpf` do not send it, and refuse or ignore the member."""
CAPABILITY_ENCODING = "application/tpf-transition-envelope+json"
LOCAL_CONTRACT = "local-contract"
TO_THE_END = -1
UNKNOWN_STEP = -1

NON_RETRYABLE = "org.pipelineframework.step.NonRetryableException"
NON_RETRYABLE_CLASSES = frozenset(
    {
        NON_RETRYABLE,
        "org.pipelineframework.step.PipelineControlFlowException",
        "org.pipelineframework.awaitable.AwaitSuspendedException",
        "org.pipelineframework.cache.CacheMissException",
        "org.pipelineframework.cache.CachePolicyViolation",
        "org.pipelineframework.query.QueryAuthenticationRequiredException",
        "org.pipelineframework.query.QueryNotFoundException",
        "org.pipelineframework.query.QueryTerminalFailureException",
        "org.pipelineframework.command.CommandOutcomeException",
        "org.pipelineframework.invocation.PipelineRecursionLimitExceededException",
    }
)
"""Failures that no retry can fix: subclasses of NON_RETRYABLE, the same in all versions of `/tpf`. Settings can
add the classes of own applications."""


class Malformed(Exception):
    """A message does not have the form of the protocol. The text never quotes a value."""


def _filled(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is blank")
    return value


Int = Annotated[int, null_as(0)]
Count = Annotated[int, Field(ge=0, lt=2**31), null_as(0)]
Version = Annotated[int, Field(ge=0, lt=2**63), null_as(0)]
Filled = Annotated[str, BeforeValidator(_filled)]


def _or(text: str | None, default: str) -> str:
    return text if text and text.strip() else default


# Members that were added after August 2026 are omitted unless they say something: earlier versions refuse them.
_Later = Field(default=None, exclude_if=lambda value: value is None)


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="allow", alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> str:
        """Return compact JSON, with the members in the order of their declaration."""
        return self.model_dump_json(by_alias=True)


class PageCompletion(_Wire):
    """How far a worker has read one page of a paged source. `exhausted`: there is no further page."""

    consumed_records: Count = 0
    next_checkpoint: Filled | None = None
    exhausted: Flag = False

    @model_validator(mode="after")
    def _ends_or_continues(self) -> Self:
        if not self.exhausted and self.next_checkpoint is None:
            raise ValueError("a page that is not the last one has no nextCheckpoint")
        return self


class PageContext(_Wire):
    """The page of a paged source that a command reads."""

    page_index: Count = 0
    source_identity: Filled
    start_checkpoint: Filled | None = None
    max_records: Annotated[int, Field(ge=1, lt=2**31)]
    suspended_completion: PageCompletion | None = None


class TransitionCommand(_Wire):
    """The 15 members of August 2026, then those of later versions of `/tpf`.

    A missing `stopBeforeStepIndex` reads as 0, not as "to the end". A missing `redriveIntent` reads as REPLAY.
    """

    tenant_id: str
    execution_id: str
    pipeline_id: str
    contract_version: str | None = None
    release_version: str | None = None
    current_step_index: Count = 0
    stop_before_step_index: Int = 0
    attempt: Count = 0
    result_shape: ResultShape
    execution_version: Version = 0
    transition_key: Filled
    trace_id: str
    payload_type_id: str
    payload_encoding: str
    payload: str
    redrive_intent: Literal["REPLAY", "RETRY_FAILED_COMMAND", "REISSUE_COMMAND"] | None = _Later
    redrive_step_index: int | None = _Later
    redrive_command_id: str | None = _Later
    redrive_reason: str | None = _Later
    page_context: PageContext | None = _Later
    step_timeouts: StepTimeouts = Field(default_factory=dict)
    item_policies: ItemPolicies = Field(default_factory=dict)
    """Both are sent to workers of this product only: releases of other authors declare no timeouts and no items."""
    last_heartbeat: str = Field(default="", exclude_if=lambda text: not text)
    """What an earlier attempt left, as `StepReport.details`. Only workers of this product leave something."""

    @model_validator(mode="after")
    def _stops_ahead(self) -> Self:
        if 0 <= self.stop_before_step_index < self.current_step_index:
            raise ValueError("stopBeforeStepIndex is before currentStepIndex")
        return self

    @model_validator(mode="after")
    def _names_the_effect(self) -> Self:
        if self.is_replay:
            return self
        if not (self.redrive_command_id or "").strip():
            raise ValueError(f"{self.redrive_intent} requires redriveCommandId")
        if self.redrive_intent == "REISSUE_COMMAND" and not (self.redrive_reason or "").strip():
            raise ValueError("REISSUE_COMMAND requires redriveReason")
        step, stop = self.redrive_step_index or 0, self.stop_before_step_index
        if self.redrive_intent == "RETRY_FAILED_COMMAND" and (step < self.current_step_index or 0 <= stop <= step):
            raise ValueError("redriveStepIndex is not a step of the command")
        return self

    @property
    def is_replay(self) -> bool:
        """True if the command runs its steps without a decision about the effects of an earlier run."""
        return self.redrive_intent in (None, "REPLAY")

    @property
    def reads_failed_step(self) -> bool:
        """True if the sender knows `failedStepIndex`. Earlier versions refuse it, and have no `redriveCommandId`."""
        return "redrive_command_id" in self.model_fields_set

    @property
    def input(self) -> TypedPayload:
        """The payload of the command."""
        return TypedPayload(
            payload_type_id=self.payload_type_id, payload_encoding=self.payload_encoding, payload=self.payload
        )

    @property
    def versions(self) -> tuple[str, str]:
        """Contract and release version. A blank contract is LOCAL_CONTRACT, and a blank release the contract."""
        contract = _or(self.contract_version, LOCAL_CONTRACT)
        return contract, _or(self.release_version, contract)


class WireFailure(_Wire):
    """The failure of a result. A missing step is as unknown as UNKNOWN_STEP."""

    failure_class: str
    message: str | None = None
    failed_step_index: Annotated[int, Field(ge=-1, lt=2**31)] | None = _Later
    failed_command_id: str | None = _Later


UnitStatus = Literal["WAITING_EXTERNAL", "COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED", "EXPIRED"]
InteractionStatus = Literal[
    "WAITING",
    "DISPATCHING",
    "DISPATCHED",
    "COMPLETION_OBSERVED",
    "COMPLETED",
    "FAILED",
    "TIMED_OUT",
    "CANCELLED",
    "EXPIRED",
]


class WireUnit(_Wire):
    """The unit of a suspension. Without `primaryInteractionId`, it has one interaction per item."""

    tenant_id: str
    unit_id: str
    execution_id: str
    step_id: str
    step_index: Int = 0
    cardinality: str | None = None
    version: Int = 0
    status: UnitStatus
    primary_interaction_id: str | None = None
    expected_item_count: Annotated[int, Field(ge=0)] | None = None
    completed_item_count: Count = 0
    completed_item_keys: Annotated[list[str], null_as([])] = Field(default_factory=list)
    dispatch_complete: Flag = False
    created_at_epoch_ms: Int = 0
    updated_at_epoch_ms: Int = 0
    ttl_epoch_s: Int = 0

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.expected_item_count is not None and self.completed_item_count > self.expected_item_count:
            raise ValueError("more items are completed than are expected")
        keys = [key for key in self.completed_item_keys if not key.startswith("continuation:")]
        if self.completed_item_keys and len(keys) != self.completed_item_count:
            raise ValueError("completedItemKeys and completedItemCount differ")
        return self


class WireInteraction(_Wire):
    """An interaction of a suspension."""

    tenant_id: Filled
    execution_id: Filled
    step_id: Filled
    step_index: Count = 0
    output_type: Filled
    interaction_id: Filled
    correlation_id: Filled
    causation_id: str | None = None
    idempotency_key: Filled
    version: Int = 0
    status: InteractionStatus
    request_payload: Any = None
    response_payload: Any = None
    unit_id: Filled
    item_index: int | None = None
    actor: str | None = None
    assignee: str | None = None
    group: str | None = None
    transport_type: str | None = None
    transport_metadata: Annotated[dict[str, Any], null_as({})] = Field(default_factory=dict)
    deadline_epoch_ms: Int = 0
    created_at_epoch_ms: Int = 0
    updated_at_epoch_ms: Int = 0
    ttl_epoch_s: Int = 0
    transport_output_type: str | None = None

    @model_validator(mode="after")
    def _metadata_has_no_null(self) -> Self:
        if any(value is None for value in self.transport_metadata.values()):
            raise ValueError("transportMetadata contains a null")
        return self


class WireSuspension(_Wire):
    """The suspension of a result."""

    tenant_id: Filled
    execution_id: Filled
    unit_id: Filled
    step_index: Count = 0
    unit: WireUnit | None = None
    interactions: Annotated[list[WireInteraction], null_as([])] = Field(default_factory=list)
    page_completion: PageCompletion | None = _Later


def _report(value: Any) -> StepReport | None:
    """Return the report; None for one that cannot be read, because the outcome counts without it."""
    try:
        return StepReport.model_validate_json(json.dumps(value))
    except ValidationError:
        return None


class SentPayload(TypedPayload):
    """A payload of a message. In contrast to payloads inside of payloads, it may have unknown members."""

    model_config = ConfigDict(extra="allow")


class TransitionResult(_Wire):
    """The result of a command. Each outcome has only the members that belong to it."""

    outcome: Literal["COMPLETED", "WAITING_EXTERNAL", "FAILED"]
    output_payloads: Annotated[list[SentPayload], null_as([])] = Field(default_factory=list)
    await_suspension: WireSuspension | None = None
    failure: WireFailure | None = None
    terminal_output_published: Flag = False
    terminal_input_passthrough: Flag = False

    page_completion: PageCompletion | None = _Later
    step_report: Annotated[StepReport | None, BeforeValidator(_report)] = _Later
    """What the steps reported, for coordinators that send READS_REPORTS."""
    decoded_output_items: Any = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _exclusive(self) -> Self:
        completed = self.outcome == "COMPLETED"
        if (self.await_suspension is not None) != (self.outcome == "WAITING_EXTERNAL"):
            raise ValueError("awaitSuspension belongs to WAITING_EXTERNAL")
        if (self.failure is not None) != (self.outcome == "FAILED"):
            raise ValueError("failure belongs to FAILED")
        if not completed and (
            self.output_payloads
            or self.terminal_output_published
            or self.terminal_input_passthrough
            or self.page_completion
        ):
            raise ValueError("outputs and pageCompletion belong to COMPLETED")
        if self.terminal_input_passthrough and (self.output_payloads or self.terminal_output_published):
            raise ValueError("a result that passes its input through has no other outputs")
        return self


class Capabilities(_Wire):
    """The release that a worker hosts."""

    protocol_version: str
    provider_name: str | None = None
    pipeline_id: str
    contract_version: str
    release_version: str
    artifact_id: str | None = ""
    artifact_digest: str | None = ""
    payload_encodings: list[str] | None = Field(default_factory=lambda: [CAPABILITY_ENCODING])
    worker_protocols: list[str] | None = Field(default_factory=lambda: ["local", "rest", "grpc", "sqs"])


Message = TypeVar("Message", TransitionCommand, TransitionResult, Capabilities)


def parse(model: type[Message], body: bytes) -> Message:
    """Return the message in `body`. Raises `Malformed`."""
    if holds_more_values(body, MOST_VALUES):
        raise Malformed(f"the message contains more than {MOST_VALUES} values")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Malformed(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def is_null(body: bytes) -> bool:
    """Return True if `body` is the JSON text `null`."""
    return body.strip() == b"null"


# --- identities -----------------------------------------------------------------------------------


def name_uuid(*parts: object) -> str:
    """Return a UUID of version 3 of the parts, joined by colons, without a namespace."""
    digest = hashlib.md5(":".join(str(part) for part in parts).encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=3))


def execution_key(pipeline_id: str, release_version: str, key: str) -> str:
    """Return the key of an execution, which is unique within a tenant."""
    return f"{len(pipeline_id)}:{pipeline_id}:{len(release_version)}:{release_version}:executionKey:{key}"
