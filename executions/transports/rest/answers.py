"""What a REST worker's answer, or its silence, means for the execution (wire protocol D.9, D.10). Pure."""

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from foundation.http.exchange import Response
from wire.messages.celery_messages import Failure, Outcome
from wire.messages.payload_envelopes import (
    LIST,
    SNAPSHOT,
    Everything,
    PayloadRefused,
    TypedPayload,
    parts,
    plain,
    read_snapshot,
)
from wire.messages.rest_messages import (
    NON_RETRYABLE_CLASSES,
    Malformed,
    TransitionCommand,
    TransitionResult,
    WireFailure,
    is_null,
    parse,
)
from wire.messages.suspension import ImportedSuspension, Unanswerable, imported

FAILED = "TransitionWorkerFailureException"
TIMED_OUT, NOT_CONNECTED, BROKEN = "HttpTimeoutException", "ConnectException", "IOException"


@dataclass(frozen=True, slots=True)
class Sent:
    """A command under its lease. `steps` is how many the contract has, None where there is no contract."""

    execution_id: uuid.UUID
    lease_token: uuid.UUID
    command: TransitionCommand
    steps: int | None


@dataclass(frozen=True, slots=True)
class Heard:
    """What an HTTP response means.

    `outputs` are the outputs of a completed transition, in the payloads in which they arrived. `opened` is what the
    worker has opened of the await that it reports.
    """

    outcome: Outcome
    outputs: list[TypedPayload] | None = None
    opened: ImportedSuspension | None = None


def heard(sent: Sent, answer: Response, *, non_retryable: Collection[str] = ()) -> Heard:
    """What `answer` comes to. `non_retryable` are classes beyond those of the framework that no retry can help."""
    told = f"for execution {sent.execution_id}"
    if not 200 <= answer.status < 300:
        return failed(
            sent, FAILED, f"REST transition worker returned HTTP {answer.status} {told} with response body omitted"
        )
    if answer.complete and is_null(answer.body):
        return failed(sent, FAILED, f"REST transition worker returned an empty result {told}")
    malformed = f"malformed JSON {told} with HTTP {answer.status} and response body omitted"
    try:
        if not answer.complete:
            raise Malformed("the answer is too long")
        return _meaning(sent, parse(TransitionResult, answer.body), non_retryable)
    except (Malformed, PayloadRefused, ValueError):
        return failed(sent, FAILED, f"REST transition worker returned {malformed}")


def failed(sent: Sent, failure_class: str, message: str, *, retryable: bool = True) -> Heard:
    failure = Failure(failure_class=failure_class, message=message, retryable=retryable)
    return Heard(_outcome(sent, outcome="FAILED", failure=failure))


def _meaning(sent: Sent, result: TransitionResult, non_retryable: Collection[str]) -> Heard:
    if result.failure is not None:
        return _failure(sent, result.failure, non_retryable)
    if result.await_suspension is not None:
        try:
            suspension = imported(sent.command, result.await_suspension)
        except Unanswerable as error:
            return failed(sent, "UNANSWERABLE_SUSPENSION", str(error), retryable=False)
        return Heard(_outcome(sent, outcome="WAITING_EXTERNAL", suspension=suspension), opened=suspension)
    outputs = _passed_on(sent) if result.terminal_input_passthrough else result.output_payloads
    if sent.command.result_shape == "SINGLE" and len(outputs) > 1:
        message = (
            f"Async queue execution {sent.execution_id} produced {len(outputs)} terminal items for SINGLE result shape"
        )
        return failed(sent, "IllegalStateException", message)
    texts = [json.dumps(plain(output, Everything()), ensure_ascii=False) for output in outputs]
    return Heard(_outcome(sent, outcome="COMPLETED", output_payloads=texts), list(outputs))


def _failure(sent: Sent, told: WireFailure, non_retryable: Collection[str]) -> Heard:
    message = (told.message or "").strip()
    if told.failure_class in NON_RETRYABLE_CLASSES or told.failure_class in non_retryable:
        return failed(sent, "NonRetryableException", message or told.failure_class, retryable=False)
    return failed(sent, FAILED, f"{told.failure_class}: {message}" if message else told.failure_class)


def _passed_on(sent: Sent) -> list[TypedPayload]:
    """The input of this very command as its outputs: past the last step there is nothing left to run."""
    if sent.steps is not None and sent.command.current_step_index != sent.steps:
        raise Malformed("there are steps left to run")
    given = sent.command.input
    if given.payload_type_id == SNAPSHOT:
        snapshot = read_snapshot(given)
        if snapshot.shape == "MULTI":
            return snapshot.items
        return [] if snapshot.payload is None else [snapshot.payload]
    if given.payload_type_id == LIST and sent.command.result_shape == "MATERIALIZED_MULTI":
        return parts(given)
    return [given]


def _outcome(sent: Sent, **members: Any) -> Outcome:
    return Outcome(
        execution_id=sent.execution_id,
        execution_version=sent.command.execution_version,
        lease_token=sent.lease_token,
        transition_key=sent.command.transition_key,
        **members,
    )
