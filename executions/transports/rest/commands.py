"""Builds the commands of REST workers (wire protocol D.5, F.6), and stores typed payloads as they travelled."""

import uuid
from collections.abc import Sequence
from typing import Any, cast

from django.db import connection
from psycopg.types.json import Jsonb

from executions.models import AwaitUnit, Execution, WireForm
from wire.documents.cardinality import ResultShape
from wire.messages.celery_messages import Shape, transition_key
from wire.messages.payload_envelopes import Snapshot, TypedPayload, listed, snapshot, travelling_type, typed
from wire.messages.rest_messages import TO_THE_END, TransitionCommand

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
    checkpoints: a REST worker that reports COMPLETED has run all remaining steps (wire protocol D.9).
    """
    key = transition_key(execution.pk, execution.current_step_index, execution.attempt)
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
    )


def payload_of(execution: Execution) -> TypedPayload:
    """Return the submitted input, the progress of a checkpoint, or the bare answer of an await.

    Raises `PayloadRefused`.
    """
    if execution.progress_shape is None:
        found = submitted(execution.pk)
        if found is not None:
            return found.model_copy(update={"shape": "MULTI" if found.shape == "MULTI" else "UNI"}).as_payload()
        return snapshot(cast("Shape", execution.input_shape), execution.input, _input_type(execution)).as_payload()
    unit = _answered(execution)
    if unit is None:
        return snapshot(
            cast("Shape", execution.progress_shape), execution.progress, _input_type(execution)
        ).as_payload()
    output_type = unit.interactions.values_list("output_type", flat=True).first()
    if execution.progress_shape == "MULTI":
        return listed(typed(item, output_type) for item in execution.progress or [])
    return typed(execution.progress, output_type)


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
    found = WireForm.objects.filter(pk=execution_id).values_list("input", flat=True).first()
    return None if found is None else Snapshot.model_validate(found)


def outputs(execution_id: uuid.UUID) -> list[TypedPayload] | None:
    """Return the outputs as a REST worker sent them; None if no REST worker completed the execution."""
    found = WireForm.objects.filter(pk=execution_id).values_list("result", flat=True).first()
    return None if found is None else [TypedPayload.model_validate(output) for output in found]
