"""What REST workers are sent, and what their responses mean.

Typed payloads are stored as they travelled, in addition to the plain JSON that the domain uses.
"""

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from django.db import connection
from psycopg.types.json import Jsonb

from executions.models import AwaitUnit, Execution, WireForm
from executions.models.states import OUTCOME_UNKNOWN
from executions.step_reports import step_reports
from executions.transports.changed_steps import changed_steps
from executions.transports.rest import read
from foundation.exchange import Response
from wire.documents.contract import ResultShape
from wire.documents.json_reader import quoted
from wire.documents.request_and_answer import takes_request
from wire.messages.celery_messages import Failure, Outcome, Shape, transition_key
from wire.messages.payload_envelopes import (
    LIST,
    SNAPSHOT,
    PayloadRefused,
    Snapshot,
    TypedPayload,
    listed,
    parts,
    plain,
    read_snapshot,
    snapshot,
    travelling_type,
    typed,
)
from wire.messages.rest_messages import (
    NON_RETRYABLE_CLASSES,
    TO_THE_END,
    Malformed,
    TransitionCommand,
    TransitionResult,
    WireFailure,
    is_null,
)
from wire.messages.suspension import ImportedSuspension, Unanswerable, Unsettled, imported

Steps = list[dict[str, Any]]

# Stores the original outputs of the execution that succeeded at this version. No row: another outcome ended it.
_STORE_RESULT = """
INSERT INTO executions_wireform (execution_id, result)
SELECT id, %(result)s FROM executions_execution
WHERE id = %(id)s AND status = 'SUCCEEDED' AND version = %(version)s
ON CONFLICT (execution_id) DO UPDATE SET result = excluded.result
"""


def steps_of(execution: Execution) -> Steps | None:
    """Return the steps of the contract that the execution is pinned to; None if its release has no contract."""
    contract = execution.release.contract
    return None if contract is None else list(contract.document.get("steps") or [])


def command_of(execution: Execution, payload: TypedPayload) -> TransitionCommand:
    """Return the command for a claimed execution. It always runs to the end of the pipeline, with or without
    checkpoints: a REST worker that reports COMPLETED has run all remaining steps.
    """
    key = transition_key(execution.pk, execution.current_step_index, execution.attempt)
    changes = changed_steps(execution.pin)
    return TransitionCommand(
        tenant_id=execution.tenant.slug,
        execution_id=str(execution.pk),
        pipeline_id=execution.pipeline_id,
        contract_version=execution.contract_version,
        release_version=execution.release_version,
        current_step_index=execution.current_step_index,
        stop_before_step_index=TO_THE_END,
        attempt=execution.attempt,
        result_shape=cast("ResultShape", execution.result_shape),
        execution_version=execution.version,
        transition_key=key,
        trace_id=key,
        payload_type_id=payload.payload_type_id,
        payload_encoding=payload.payload_encoding,
        payload=payload.payload,
        step_timeouts=changes.timeouts,
        item_policies=changes.items,
        last_heartbeat=step_reports.newest_details(execution),
    )


def payload_of(execution: Execution) -> TypedPayload:
    """Return the submitted input, the progress of a checkpoint, or what an await resumes with: not in a snapshot.

    Raises `PayloadRefused`.
    """
    if execution.progress_shape is None:
        stored = submitted(execution.pk)
        if stored is not None:
            return stored.model_copy(update={"shape": "MULTI" if stored.shape == "MULTI" else "UNI"}).as_payload()
        return snapshot(cast("Shape", execution.input_shape), execution.input, _input_type(execution)).as_payload()
    unit = _answered(execution)
    if unit is None:
        return snapshot(
            cast("Shape", execution.progress_shape), execution.progress, _input_type(execution)
        ).as_payload()
    if takes_request(steps_of(execution), execution.current_step_index):
        type_id = _input_type(execution)
    else:
        type_id = unit.interactions.values_list("output_type", flat=True).first()
    if execution.progress_shape == "MULTI":
        return listed(typed(item, type_id) for item in execution.progress or [])
    return typed(execution.progress, type_id)


def _answered(execution: Execution) -> AwaitUnit | None:
    """Return the unit whose answer the execution resumes with: the completed one at the previous step."""
    units = AwaitUnit.objects.filter(
        execution=execution, status=AwaitUnit.Status.COMPLETED, step_index=execution.current_step_index - 1
    )
    return units.order_by("-created_at").first()


def _input_type(execution: Execution) -> str | None:
    """Return the type name of the payload for the current step; None if the contract does not name it."""
    contract, steps = execution.release.contract, steps_of(execution)
    at = execution.current_step_index
    if contract is None or not steps or at > len(steps):
        return None
    name = steps[at].get("inputTypeId") if at < len(steps) else steps[-1].get("outputTypeId")
    return travelling_type(str(name), contract.document.get("transport")) if name else None


def keep_result(execution_id: uuid.UUID, outputs: Sequence[TypedPayload], *, version: int) -> None:
    """Store outputs in the transaction that records an outcome, if that outcome moved the execution to `version`."""
    result = Jsonb([output.document() for output in outputs])
    parameters: dict[str, Any] = {"id": execution_id, "version": version, "result": result}
    with connection.cursor() as cursor:
        cursor.execute(_STORE_RESULT, parameters)


def submitted(execution_id: uuid.UUID) -> Snapshot | None:
    """Return the input as it was submitted in typed payloads; None if it was submitted as plain JSON."""
    snapshot = WireForm.objects.filter(pk=execution_id).values_list("input", flat=True).first()
    return None if snapshot is None else Snapshot.model_validate(snapshot)


def outputs(execution_id: uuid.UUID) -> list[TypedPayload] | None:
    """Return the outputs as a REST worker sent them; None if no REST worker completed the execution."""
    snapshot = WireForm.objects.filter(pk=execution_id).values_list("result", flat=True).first()
    return None if snapshot is None else [TypedPayload.model_validate(output) for output in snapshot]


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
        return failed(sent, code, f"REST worker returned HTTP {answer.status} {subject} with response body omitted")
    if answer.complete and is_null(answer.body):
        return failed(sent, FAILED, f"REST worker returned an empty result {subject}")
    malformed = f"malformed JSON {subject} with HTTP {answer.status} and response body omitted"
    try:
        if not answer.complete:
            raise Malformed("the response is too long")
        result = read(TransitionResult, answer.body)
        meaning = _meaning(sent, result, non_retryable)
    except (Malformed, PayloadRefused, ValueError):
        return failed(sent, FAILED, f"REST worker returned {malformed}")
    if result.step_report is None:
        return meaning
    return replace(meaning, outcome=meaning.outcome.model_copy(update={"report": result.step_report}))


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
