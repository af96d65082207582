"""The bodies of the messages between coordinator and workers over the broker. Pure; both sides share it.

Commands and outcomes have the members of messages over HTTP, with payloads as JSON text. The limits here
are also those of messages over HTTP. Those of the values in messages are in `wire.documents.json_reader`.
"""

import json
import uuid
from datetime import timedelta
from itertools import pairwise
from operator import not_
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from wire import traceparent
from wire.documents.contract import ResultShape
from wire.documents.json_reader import MOST_PAYLOADS
from wire.identity import SEGMENT_RULE, is_segment
from wire.messages.step_reports import FailingSteps, StepLines

TOLERANCE = timedelta(minutes=2)
"""How far the clocks of a sender and a receiver may differ."""
LONGEST_WAIT = timedelta(days=36_525)
"""The longest timeout of an await: a hundred years."""
LONGEST_STEP_ID = 300
"""In characters, like all limits of texts below."""
LONGEST_TYPE = 500
"""The name of a type."""
LONGEST_RECIPIENT = 200
"""An await's assignee or group."""
LONGEST_WORKER_ID = 190
"""With a prefix such as `worker:` it fits into the columns for actors and owners of leases."""
LONGEST_TRACEBACK = 4_000
MOST_TOGETHER = 1_000
"""The number of commands, outcomes or checkpoints in one group."""
MOST_ITEMS = 1_000
"""The number of items in one group."""
MOST_LEASES = 10_000
"""The number of leases of one kind that a heartbeat or an instruction names. A worker has at most as many threads."""
MOST_SPANS = 1_000
"""The number of steps in one outcome or checkpoint whose times are reported. Those of later steps are not."""
MOST_TIMEOUTS = 1_000
"""The number of steps of a command whose timeouts differ from those that they declare."""
MOST_DIFFERENCES = 50
"""The number of differences that a heartbeat lists between a worker's environment and the required one."""
LONGEST_PROGRESS = 200
"""The message of a progress report."""
LONGEST_DETAILS = 1_000
"""The details that a step leaves for the next attempt, as JSON text, in bytes."""
MOST_REPORTS = 200
"""The number of reports of steps in one heartbeat."""


class Wire(BaseModel):
    """A part of a message: strict, with the names of messages over HTTP.

    Unknown members are ignored, so that processes of two versions can work side by side. A new member is optional, and
    means the same to a reader that ignores it. Any other change needs a new `protocolVersion` of the envelope.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        ser_json_inf_nan="null",
    )


Shape = Literal["UNI", "MULTI"]
WorkerState = Literal["HEALTHY", "DRAINING", "UNAVAILABLE"]
CodeOrigin = Literal["artifact", "source", "image"]
"""Where a worker's code comes from: the release's artifact, a folder, or unknown, as the release pins only images."""


def _segment(text: str) -> str:
    if not is_segment(text):
        raise ValueError(SEGMENT_RULE)
    return text


# Stored in columns, so bounded like the columns, and without the character that PostgreSQL cannot store.
Identity = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
WorkerId = Annotated[str, Field(max_length=LONGEST_WORKER_ID), AfterValidator(_segment)]
_TransitionKey = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
_Version = Annotated[int, Field(ge=0, lt=2**63)]
# Reading stops at the first bad item: an error for each of them would need far more memory than the message.
_Item = TypeVar("_Item")
_Together = Annotated[list[_Item], Field(max_length=MOST_TOGETHER, fail_fast=True)]
_Leases = Annotated[list[_Item], Field(max_length=MOST_LEASES, fail_fast=True)]
_Difference = Annotated[str, Field(max_length=300, pattern=r"^[^\x00]*$")]
_Environment = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")]
_Differences = Annotated[list[_Difference], Field(max_length=MOST_DIFFERENCES, fail_fast=True)]
_Payloads = Annotated[list[str], Field(max_length=MOST_PAYLOADS, fail_fast=True)]


# Omitted if empty, so that a receiver of an earlier version, which knows no such member, accepts untraced messages.
_Traceparent = Annotated[str, Field(pattern=f"^({traceparent.SQL_FORM[1:-1]})?$", exclude_if=not_)]
_Omitted = Annotated[str, Field(exclude_if=not_)]
_OwnVersion = Annotated[_Environment, Field(exclude_if=not_)]


_ByStep = Annotated[dict[Annotated[int, Field(ge=0)], _Item], Field(max_length=MOST_TIMEOUTS, exclude_if=not_)]
StepTimeouts = _ByStep[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
ItemPolicies = _ByStep[dict[str, bool | int | float]]


class Command(Wire):
    """One transition to run. `stop_before_step_index` -1 means to the end.

    `checkpoints` requests a checkpoint after each step. `payload` is JSON text: one value if `shape` is UNI, a list of
    values if it is MULTI. `lease_seconds` is how long the lease lasts after sending.

    `traceparent` is the context of the span that sent the command. `suspended_run` is that of the run whose await this
    transition resumes. Both are empty if the execution is not traced. `last_heartbeat` is the JSON text of the details
    that an earlier attempt left, empty if there are none.

    `step_timeouts` has the timeouts that the policy of the pipeline sets, in seconds by the index of the step. The
    others are those that the steps declare. `item_policies` has the members of its policies of steps that change the
    retries of items, by the index of the step. Workers of earlier versions follow what the code declares.

    `finished_items` has the items for which the first step is done: JSON text of pairs of indexes and of their results,
    as in `ItemGroup`. It is empty if there are none.
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
    traceparent: _Traceparent = ""
    suspended_run: _Traceparent = ""
    step_timeouts: StepTimeouts = Field(default_factory=dict)
    item_policies: ItemPolicies = Field(default_factory=dict)
    last_heartbeat: str = Field(default="", exclude_if=not_)
    finished_items: _Omitted = ""

    def results_of_items(self) -> dict[int, list[Any]]:
        """Return the results of the finished items by their indexes."""
        pairs = json.loads(self.finished_items) if self.finished_items else ()
        return {index: output for indexes, outputs in pairs for index, output in zip(indexes, outputs, strict=True)}


class CommandGroup(Wire):
    commands: _Together[Command] = Field(min_length=1)


class Failure(Wire):
    """The reason why a transition failed. The worker sets `retryable`, because only it knows the exception's class.

    `traceback` is empty if there was no exception.
    """

    failure_class: str
    message: str
    retryable: bool
    step_index: int | None = None
    traceback: str = ""


class Suspension(Wire):
    """An await that a transition reached: its requests as JSON texts, and how to send them.

    An `itemized` unit has one request per item; any other unit has exactly one. `gives_many`: the responses are a
    stream for the next step. `transport_metadata` is for the transport, such as a webhook's `url`.
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


_Milliseconds = Annotated[int, Field(ge=0, lt=2**53)]
Span = tuple[_Milliseconds, _Milliseconds]
"""The start and the end of a time span, in milliseconds since 1970."""
StepSpan = tuple[Annotated[int, Field(ge=0, lt=2**31)], _Milliseconds, _Milliseconds]
"""The index of a step and its span in a transition: from its first call to the end of its last one.

The spans of steps overlap if they pass a stream, because streams are lazy. These are arrays, because messages contain
many of them.
"""
_ItemIndex = Annotated[int, Field(ge=0, lt=2**31)]
_Spans = Annotated[list[StepSpan], Field(max_length=MOST_SPANS, fail_fast=True)]


class StepReport(Wire):
    """What the code of a transition's steps has reported so far: its newest progress, details and lines.

    `done` and `total` are null if no step has reported progress. `details` is JSON text, empty if there are none: an
    array of the index of the step, that of the item or null, and the value.
    """

    done: int | None = Field(default=None, ge=0, lt=2**53)
    total: int | None = Field(default=None, ge=0, lt=2**53)
    message: str = Field(default="", max_length=LONGEST_PROGRESS)
    details: str = Field(default="", max_length=LONGEST_DETAILS + 50)
    lines: StepLines = Field(default_factory=list)


class LeaseReport(StepReport):
    """The report of a transition that runs, under its lease."""

    execution_id: uuid.UUID
    lease_token: uuid.UUID
    transition_key: _TransitionKey


class _UnderLease(Wire):
    """What a worker reports about a transition, which counts only under its lease."""

    execution_id: uuid.UUID
    execution_version: _Version
    lease_token: uuid.UUID
    transition_key: _TransitionKey


class Outcome(_UnderLease):
    """What a worker reports at the end of a transition. `output_payloads` are JSON texts.

    `stopped_before_step_index` is -1 if the pipeline ran to its end, as every command requests. `steps` has the spans
    of the steps that ran. `span` is the span of the whole transition, for workers that do not report their steps.
    `traceparent` is the context of the run, empty if it is not traced. `report` is null if no step reported anything.
    `failed_items` has those that were collected.
    """

    outcome: Literal["COMPLETED", "WAITING_EXTERNAL", "FAILED"]
    output_payloads: _Payloads = Field(default_factory=list)
    stopped_before_step_index: int = Field(default=-1, ge=-1)
    suspension: Suspension | None = None
    failure: Failure | None = None
    steps: _Spans = Field(default_factory=list)
    span: Span | None = None
    traceparent: _Traceparent = ""
    report: StepReport | None = Field(default=None, exclude_if=not_)
    failed_items: FailingSteps = Field(default_factory=list)


class Checkpoint(_UnderLease):
    """The input of the step at `next_step_index`, stored while the transition runs, so that a retry starts there.

    The outputs are JSON texts; they are a stream if `many`. `steps` has the spans of the transition so far, and
    `failed_items` the items that it has collected so far.
    """

    next_step_index: int = Field(ge=1, lt=2**31)
    output_payloads: _Payloads
    many: bool = False
    steps: _Spans = Field(default_factory=list)
    failed_items: FailingSteps = Field(default_factory=list)


class ItemGroup(_UnderLease):
    """Items of the step at `step_index` that are finished, stored while the step runs for the others.

    The input of the step is what the execution has stored, so that `items`, their indexes in it, keep their meaning.
    They ascend. `outputs` has the results of each item as the JSON text of a list. `total` is the number of all items,
    and `failed` that of those among `items` that failed and were collected.
    """

    step_index: int = Field(ge=0, lt=2**31)
    items: Annotated[list[_ItemIndex], Field(min_length=1, max_length=MOST_ITEMS, fail_fast=True)]
    outputs: Annotated[list[str], Field(max_length=MOST_ITEMS, fail_fast=True)]
    total: _ItemIndex
    failed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        in_order = all(before < after for before, after in pairwise(self.items))
        if not in_order or len(self.outputs) != len(self.items) or self.items[-1] >= self.total:
            raise ValueError("a group of items has ascending indexes below the total, and as many outputs")
        if self.failed > len(self.items):
            raise ValueError("a group of items has more failures than items")
        return self


# Omitted if empty, so that the messages of pipelines without such steps stay the same.
_Groups = Annotated[list[ItemGroup], Field(max_length=MOST_TOGETHER, fail_fast=True, exclude_if=not_)]


class OutcomeGroup(Wire):
    """Outcomes, checkpoints and finished items of commands of one release.

    `artifact_digest` is the artifact whose code ran, `code` says where the worker took it from, `environment` is the
    fingerprint of the worker's environment, and `durable_pipelines` the version of that distribution. They are empty,
    or null, if unknown. `code` is `registered` if the worker reports no artifact with its outcomes, so that the digest
    is the one that it was registered with.
    """

    worker_id: WorkerId
    artifact_digest: Identity = ""
    code: CodeOrigin | Literal["registered"] | None = None
    environment: Identity = ""
    durable_pipelines: _OwnVersion = ""
    outcomes: _Together[Outcome] = Field(default_factory=list)
    checkpoints: _Together[Checkpoint] = Field(default_factory=list)
    items: _Groups = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not self.outcomes and not self.checkpoints and not self.items:
            raise ValueError("a group contains at least one outcome, checkpoint or group of items")
        return self


class HeldLease(Wire):
    """A lease that a worker holds. `seconds` is how long its transition has been running, or waiting for a thread."""

    execution_id: uuid.UUID
    lease_token: uuid.UUID
    seconds: float = Field(default=0, ge=0, le=10**9, allow_inf_nan=False)


class WorkerEnvironment(Wire):
    """The Python environment of a worker.

    `fingerprint` changes with the interpreter, the platform and every installed distribution. `durable_pipelines` is
    the version of that distribution, or empty if unknown. `differences` lists how the environment differs from the one
    that the artifact requires, at most MOST_DIFFERENCES of `difference_count`.
    """

    fingerprint: Identity
    python: _Environment
    platform: _Environment
    durable_pipelines: _OwnVersion = ""
    differences: _Differences = Field(default_factory=list)
    difference_count: int = Field(default=0, ge=0, le=10**6)


class Heartbeat(Wire):
    """A worker's heartbeat. It registers the worker, and renews the leases that the worker holds.

    `capacity` is how many transitions it can run at once, and includes the `abandoned` threads; `taking`, whether it
    accepts commands, as it was last instructed. A worker that does not report it supports no instructions, and accepts
    commands. `answered` is false until the worker has received an instruction. `transition_seconds` is how long a
    transition takes on average; null while unknown.

    `running` are the transitions that a thread has begun, `waiting` those whose command waits in the worker for a
    thread. `abandoned` counts the threads that still run a transition whose outcome no longer counts.

    `code` says where the worker's code comes from; null if it does not report that. `reports` are those of steps that
    have reported something since the last heartbeat.
    """

    worker_id: WorkerId
    state: WorkerState
    capacity: int = Field(ge=1, le=10_000)
    artifact_id: Identity = ""
    artifact_digest: Identity = ""
    code: CodeOrigin | None = None
    environment: WorkerEnvironment | None = None
    taking: bool = True
    answered: bool = True
    transition_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    running: _Leases[HeldLease] = Field(default_factory=list)
    waiting: _Leases[HeldLease] = Field(default_factory=list)
    abandoned: int = Field(default=0, ge=0, le=10_000)
    reports: list[LeaseReport] = Field(default_factory=list, max_length=MOST_REPORTS, fail_fast=True, exclude_if=not_)


class Instruction(Wire):
    """The coordinator's instruction to one worker. With `drain`, it finishes its commands and accepts no more.

    `lost_leases` are the tokens of leases that the worker holds and that no longer count: the execution was cancelled,
    or another worker took it over. `ineligible_reason` says why the worker gets no work, such as RELEASE_UNKNOWN; null
    if it may get some. Earlier coordinators do not send it.
    """

    worker_id: WorkerId
    drain: bool
    ineligible_reason: str | None = Field(default=None, max_length=40)
    lost_leases: _Leases[uuid.UUID] = Field(default_factory=list)


def transition_key(execution_id: uuid.UUID | str, step_index: int, attempt: int) -> str:
    """Return the key of an attempt. A lease takeover repeats the key; a retry does not."""
    return f"{execution_id}:{step_index}:{attempt}"


def attempt_of(key: str) -> int:
    """Return the attempt in a transition key; 0 for a key of another form, because workers report keys."""
    attempt = key.rpartition(":")[2]
    return int(attempt) if attempt.isdecimal() else 0
