"""Turns the HTTP response of a REST worker, or a failed call, into an outcome (wire protocol D.9, D.10)."""

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from executions.models.states import OUTCOME_UNKNOWN
from executions.transports.rest.calls import read
from foundation.http.exchange import Response
from wire.documents.json_reader import quoted
from wire.messages.celery_messages import Failure, Outcome
from wire.messages.payload_envelopes import (
    LIST,
    SNAPSHOT,
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
)
from wire.messages.suspension import ImportedSuspension, Unanswerable, Unsettled, imported

FAILED = "TransitionWorkerFailureException"
NOT_CONNECTED = "ConnectException"
PAGED_SOURCE_UNSUPPORTED = "PAGED_SOURCE_UNSUPPORTED"
COMMAND_UNSETTLED = "COMMAND_UNSETTLED"
GATEWAY_FAILURES = frozenset({502, 504, 520, 522, 524, 598, 599})
"""Statuses of a gateway that has no valid response of the worker. No standard has those above 511, but gateways do."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A command and its lease. `steps` is the number of steps of the contract, None if the release has no contract."""

    execution_id: uuid.UUID
    lease_token: uuid.UUID
    command: TransitionCommand
    steps: int | None


@dataclass(frozen=True, slots=True)
class CallResult:
    """What an HTTP response means.

    `outputs` are the outputs of a completed transition, in the payloads in which they arrived. `opened` is what the
    worker has opened of the await that it reports. `reported` is false if the worker has reported no outcome, so that
    the coordinator has concluded it.
    """

    outcome: Outcome
    outputs: list[TypedPayload] | None = None
    opened: ImportedSuspension | None = None
    reported: bool = True


def result_of(sent: Sent, answer: Response, *, non_retryable: Collection[str] = ()) -> CallResult:
    """Return what a response means. `non_retryable` are further failure classes that no retry helps.

    If a gateway has no response, the outcome is unknown (ADR 74).
    """
    subject = f"for execution {sent.execution_id}"
    if not 200 <= answer.status < 300:
        code = OUTCOME_UNKNOWN if answer.status in GATEWAY_FAILURES else FAILED
        return failed(
            sent, code, f"REST transition worker returned HTTP {answer.status} {subject} with response body omitted"
        )
    if answer.complete and is_null(answer.body):
        return failed(sent, FAILED, f"REST transition worker returned an empty result {subject}")
    malformed = f"malformed JSON {subject} with HTTP {answer.status} and response body omitted"
    try:
        if not answer.complete:
            raise Malformed("the response is too long")
        return _meaning(sent, read(TransitionResult, answer.body), non_retryable)
    except (Malformed, PayloadRefused, ValueError):
        return failed(sent, FAILED, f"REST transition worker returned {malformed}")


def failed(
    sent: Sent,
    failure_class: str,
    message: str,
    *,
    retryable: bool = True,
    reported: bool = False,
    step_index: int | None = None,
) -> CallResult:
    failure = Failure(failure_class=failure_class, message=message, retryable=retryable, step_index=step_index)
    return CallResult(_outcome(sent, outcome="FAILED", failure=failure), reported=reported)


def _meaning(sent: Sent, result: TransitionResult, non_retryable: Collection[str]) -> CallResult:
    if result.failure is not None:
        return _failure(sent, result.failure, non_retryable)
    if result.page_completion or (result.await_suspension and result.await_suspension.page_completion):
        message = "The worker reports a page of a paged source, which this coordinator did not request"
        return failed(sent, PAGED_SOURCE_UNSUPPORTED, message, retryable=False, reported=True)
    if result.await_suspension is not None:
        try:
            suspension = imported(sent.command, result.await_suspension)
        except Unanswerable as error:
            return failed(sent, "UNANSWERABLE_SUSPENSION", str(error), retryable=False, reported=True)
        except Unsettled as error:
            return failed(sent, COMMAND_UNSETTLED, str(error), reported=True)
        return CallResult(_outcome(sent, outcome="WAITING_EXTERNAL", suspension=suspension), opened=suspension)
    outputs: Sequence[TypedPayload]
    outputs = _passed_on(sent) if result.terminal_input_passthrough else result.output_payloads
    if sent.command.result_shape == "SINGLE" and len(outputs) > 1:
        message = (
            f"Async queue execution {sent.execution_id} produced {len(outputs)} terminal items for SINGLE result shape"
        )
        return failed(sent, "IllegalStateException", message, reported=True)
    texts = [json.dumps(plain(output, None), ensure_ascii=False) for output in outputs]
    return CallResult(_outcome(sent, outcome="COMPLETED", output_payloads=texts), list(outputs))


def _failure(sent: Sent, failure: WireFailure, non_retryable: Collection[str]) -> CallResult:
    name, message = failure.failure_class, (failure.message or "").strip()
    if (command := failure.failed_command_id or "").strip():
        message = f"command {quoted(command)}: {message}" if message else f"command {quoted(command)}"
    step = _failed_step(sent, failure.failed_step_index)
    if name in NON_RETRYABLE_CLASSES or name in non_retryable:
        return failed(sent, "NonRetryableException", message or name, retryable=False, reported=True, step_index=step)
    return failed(sent, FAILED, f"{name}: {message}" if message else name, reported=True, step_index=step)


def _failed_step(sent: Sent, index: int | None) -> int | None:
    """Return the step that failed; None if the worker names none that the command runs."""
    if index is None or index < sent.command.current_step_index:
        return None
    return index if sent.steps is None or index < sent.steps else None


def _passed_on(sent: Sent) -> list[TypedPayload]:
    """Return the input of the command as its outputs: after the last step there is nothing left to run."""
    if sent.steps is not None and sent.command.current_step_index != sent.steps:
        raise Malformed("there are steps left to run")
    passed = sent.command.input
    if passed.payload_type_id == SNAPSHOT:
        snapshot = read_snapshot(passed)
        if snapshot.shape == "MULTI":
            return snapshot.items
        return [] if snapshot.payload is None else [snapshot.payload]
    if passed.payload_type_id == LIST and sent.command.result_shape == "MATERIALIZED_MULTI":
        return parts(passed)
    return [passed]


def _outcome(sent: Sent, **members: Any) -> Outcome:
    return Outcome(
        execution_id=sent.execution_id,
        execution_version=sent.command.execution_version,
        lease_token=sent.lease_token,
        transition_key=sent.command.transition_key,
        **members,
    )
