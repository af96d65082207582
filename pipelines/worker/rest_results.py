"""Builds the results of a worker over HTTP, with the suspension at an await."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.authoring.planned_step import PlannedStep
from pipelines.failures import INVALID_STEP_OUTPUT, OUTPUT_TOO_LARGE, Failed, log_failure
from pipelines.worker.outcomes import CERTAINLY_FITTING, too_large
from pipelines.worker.run_results import Completed, RunResult, Suspended
from wire.documents.contract import AUTOMATIC
from wire.documents.json_reader import values_in
from wire.messages.celery_messages import StepReport
from wire.messages.payload_envelopes import PayloadRefused, PayloadTooLong, typed
from wire.messages.rest_messages import (
    NON_RETRYABLE,
    UNKNOWN_STEP,
    SentPayload,
    TransitionCommand,
    TransitionResult,
    WireFailure,
    WireInteraction,
    WireSuspension,
    WireUnit,
    name_uuid,
)

DAY_SECONDS = 86_400


def encoded(command: TransitionCommand, outcome: RunResult, steps: Sequence[PlannedStep]) -> bytes:
    """Return the result of a command of a pipeline with `steps`, as a body that is never too large."""
    result: TransitionResult | Failed
    if isinstance(outcome, Suspended):
        result = TransitionResult(outcome="WAITING_EXTERNAL", await_suspension=_suspension(command, outcome))
    else:
        result = _completed(command, outcome, steps) if isinstance(outcome, Completed) else outcome
    if not isinstance(outcome, Failed) and isinstance(result, TransitionResult):
        text = result.to_json()
        # A payload's text is JSON in JSON, so only the values in it are counted.
        texts = [output.payload for output in result.output_payloads]
        values = values_in(texts or [text])
        too_much = too_large(outcome, items=len(texts), characters=len(text), values=values)
        if too_much is None:
            return text.encode()
        result = too_much
    assert isinstance(result, Failed)  # noqa: S101
    log_failure(command.execution_id, result)
    return failure_of(command, result)


def with_report(result: bytes, report: StepReport | None) -> bytes:
    """Return the result with the report of its steps. A result that is almost too large has none."""
    if report is None or len(result) >= CERTAINLY_FITTING:
        return result
    return b'%s,"stepReport":%s}' % (result[:-1], report.model_dump_json(by_alias=True).encode())


def _completed(
    command: TransitionCommand, outcome: Completed, steps: Sequence[PlannedStep]
) -> TransitionResult | Failed:
    if command.current_step_index == len(steps):
        return TransitionResult(outcome="COMPLETED", terminal_input_passthrough=True)
    stop = stop_of(command, steps)
    echoed = stop == command.current_step_index
    type_id = steps[stop].input.type_id if echoed else steps[stop - 1].output.type_id
    try:
        payloads = [SentPayload(**vars(typed(output, type_id))) for output in outcome.outputs]
    except PayloadRefused as error:
        code = OUTPUT_TOO_LARGE if isinstance(error, PayloadTooLong) else INVALID_STEP_OUTPUT
        return Failed(code, f"the output cannot be sent: {error}", retryable=False)
    return TransitionResult(outcome="COMPLETED", output_payloads=payloads)


def stop_of(command: TransitionCommand, steps: Sequence[PlannedStep]) -> int:
    """Return the index of the first step that a command does not run."""
    return len(steps) if command.stop_before_step_index < 0 else command.stop_before_step_index


def failure_of(command: TransitionCommand, failed: Failed) -> bytes:
    """Return a failure. The protocol has no field for the traceback; the class says whether a retry may help."""
    if failed.retryable:
        return failure(command, failed.failure_class, failed.message, failed.step_index)
    return failure(command, NON_RETRYABLE, f"{failed.failure_class}: {failed.message}", failed.step_index)


def failure(command: TransitionCommand, failure_class: str, message: str, step_index: int | None = None) -> bytes:
    """Return a failure, with the failed step if the coordinator knows that member: earlier versions refuse it."""
    step = UNKNOWN_STEP if step_index is None else step_index
    reported = WireFailure(
        failure_class=failure_class, message=message, failed_step_index=step if command.reads_failed_step else None
    )
    return TransitionResult(outcome="FAILED", failure=reported).to_json().encode()


def _suspension(command: TransitionCommand, suspended: Suspended) -> WireSuspension:
    """Return the unit and the interactions of the await at which a command stopped."""
    waits = suspended.waits
    unit_id = name_uuid(command.tenant_id, command.execution_id, waits.step_id, suspended.step_index)
    now = int(datetime.now(UTC).timestamp() * 1000)
    places = range(len(suspended.requests)) if suspended.itemized else [None]
    interactions = [
        _interaction(command, suspended, unit_id, place, request, now)
        for place, request in zip(places, suspended.requests, strict=True)
    ]
    unit = WireUnit(
        tenant_id=command.tenant_id,
        unit_id=unit_id,
        execution_id=command.execution_id,
        step_id=waits.step_id,
        step_index=suspended.step_index,
        cardinality=str(suspended.step.cardinality),
        version=1,
        status="WAITING_EXTERNAL",
        primary_interaction_id=None if suspended.itemized else interactions[0].interaction_id,
        expected_item_count=len(interactions) if suspended.itemized else None,
        dispatch_complete=suspended.itemized,
        created_at_epoch_ms=now,
        updated_at_epoch_ms=now,
        ttl_epoch_s=interactions[0].ttl_epoch_s,
    )
    return WireSuspension(
        tenant_id=command.tenant_id,
        execution_id=command.execution_id,
        unit_id=unit_id,
        step_index=suspended.step_index,
        unit=unit,
        interactions=interactions,
    )


def _interaction(
    command: TransitionCommand, suspended: Suspended, unit_id: str, place: int | None, request: Any, now: int
) -> WireInteraction:
    """Return an interaction of the protocol.

    Webhooks, timers and calls of pipelines stay WAITING, because the coordinator handles them.
    """
    waits, output_type = suspended.waits, suspended.step.output.type_id
    item = "" if place is None else f":item={place}"
    key = f"{command.execution_id}:{waits.step_id}{item}"
    deadline = now + int(waits.timeout.total_seconds() * 1000)
    is_handled_by_coordinator = waits.transport in (*AUTOMATIC, "webhook")
    metadata: dict[str, Any] = dict(waits.transport_metadata)
    if not is_handled_by_coordinator:
        metadata |= {"adapter": waits.transport, "dispatchedAtEpochMs": now}
    return WireInteraction(
        tenant_id=command.tenant_id,
        execution_id=command.execution_id,
        step_id=waits.step_id,
        step_index=suspended.step_index,
        output_type=output_type,
        interaction_id=str(uuid.uuid4()),
        correlation_id=name_uuid(command.tenant_id, command.execution_id, waits.step_id, key),
        causation_id=f"{command.execution_id}:{suspended.step_index}" + ("" if place is None else f":{place}"),
        idempotency_key=key,
        version=0 if is_handled_by_coordinator else 2,
        status="WAITING" if is_handled_by_coordinator else "DISPATCHED",
        request_payload=request,
        unit_id=unit_id,
        item_index=place,
        assignee=waits.assignee,
        group=waits.group,
        transport_type=waits.transport,
        transport_metadata=metadata,
        deadline_epoch_ms=deadline,
        created_at_epoch_ms=now,
        updated_at_epoch_ms=now,
        ttl_epoch_s=deadline // 1000 + DAY_SECONDS,
        transport_output_type=output_type,
    )
