"""The bodies of the messages between coordinator and transition workers over the broker. Pure; both sides share it.

Commands and outcomes have the members of the wire protocol, D.5 and D.6, with payloads as JSON text.
"""

import uuid
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from wire.documents.cardinality import ResultShape
from wire.identifying import SEGMENT_RULE, is_segment
from wire.messages.limits import (
    LONGEST_RECIPIENT,
    LONGEST_STEP_ID,
    LONGEST_WORKER_ID,
    MOST_LEASES,
    MOST_PAYLOADS,
    MOST_TOGETHER,
)


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


class Instruction(Wire):
    """The coordinator's order to one worker. With `drain` it finishes its commands and accepts no more.

    `lost_leases` are the tokens of leases that the worker holds and that no longer count: the execution was cancelled,
    or another worker took it over.
    """

    worker_id: WorkerId
    drain: bool
    lost_leases: _Leases[uuid.UUID] = Field(default_factory=list)


def transition_key(execution_id: uuid.UUID | str, step_index: int, attempt: int) -> str:
    """Wire protocol E.4: a lease takeover repeats the key, a retry does not."""
    return f"{execution_id}:{step_index}:{attempt}"
