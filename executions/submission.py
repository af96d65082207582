"""Takes an execution in: resolves the active release, checks it, and pins the execution to it for good."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from coordinator import bell
from coordinator.tenancy.models import Tenant
from executions.errors import IdempotencyKeyReused, InputInvalid
from executions.models import Execution
from executions.states import State
from executions.worker_registry import DISPATCH_TASK, require_healthy
from releases import registry
from releases.canonical import mismatches
from releases.contract import Contract, contract_from_json
from releases.descriptor import CHECKPOINTS
from releases.errors import ActiveReleaseChanged
from releases.models import Release
from releases.soundness import require_sound

MANY = {"MANY_TO_ONE", "MANY_TO_MANY", "REDUCTION"}


@dataclass(frozen=True)
class Submission:
    execution: Execution
    duplicate: bool


def submit(
    tenant: Tenant,
    *,
    pipeline_id: str,
    input: Any,  # noqa: A002 - the wire's word
    idempotency_key: str,
    actor: str,
    expected_release_version: str | None = None,
    input_shape: str | None = None,
    wire_input: Any = None,
) -> Submission:
    """Accept an execution. Once this returns it is durable, pinned, and will run, whatever is activated later.

    `input_shape` says whether the input is one value or the items of a stream, in place of the contract's first step.
    `wire_input` is the input in the payloads in which it came, to be kept beside it.

    The same key with the same input returns the first execution, even where a new one would be refused by now.
    Raises, in this order: `PipelineUnknown`, `IdempotencyKeyReused`, `NoActiveRelease`, `ActiveReleaseChanged`,
    `InputInvalid`, `ArtifactMissing`, `ArtifactAltered`, `WorkerUnavailable`.
    """
    pipeline = registry.pipeline(tenant, pipeline_id)
    digest = input_digest(input)
    first = _first(tenant, pipeline_id, idempotency_key, digest)
    if first is not None:
        return Submission(first, duplicate=True)
    release = registry.active_release(pipeline)
    if expected_release_version is not None and expected_release_version != release.release_version:
        raise ActiveReleaseChanged(
            f"Expected {expected_release_version!r} to be active, but it is {release.release_version!r}.",
            activeReleaseVersion=release.release_version,
        )
    contract = contract_from_json(release.contract.document) if release.contract else None
    shape = _input_shape(contract, input, input_shape)
    require_sound(release)
    require_healthy(release)
    with transaction.atomic():
        execution_id = _insert(tenant, release, contract, input, wire_input, digest, shape, idempotency_key, actor)
        if execution_id is not None:
            bell.ring(DISPATCH_TASK)
    if execution_id is None:
        first = _first(tenant, pipeline_id, idempotency_key, digest)
        assert first is not None  # noqa: S101 - executions are never deleted
        return Submission(first, duplicate=True)
    return Submission(Execution.objects.get(pk=execution_id), duplicate=False)


def input_digest(value: Any) -> str:
    """Equal for equal JSON values, whatever the order of their members."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _first(tenant: Tenant, pipeline_id: str, idempotency_key: str, digest: str) -> Execution | None:
    found = Execution.objects.filter(tenant=tenant, pipeline_id=pipeline_id, execution_key=idempotency_key).first()
    if found is not None and found.input_digest != digest:
        raise IdempotencyKeyReused(
            f"The key {idempotency_key!r} belongs to execution {found.pk}, which has another input.",
            executionId=str(found.pk),
        )
    return found


def _input_shape(contract: Contract | None, value: Any, asked: str | None) -> str:
    """UNI for one value, MULTI for a list of items where that is asked, or else where the first step takes many.

    Raises `InputInvalid`.
    """
    if contract is None or not contract.steps:
        return asked or "UNI"
    many = asked == "MULTI" if asked else contract.steps[0].cardinality in MANY
    if many and not isinstance(value, list):
        raise InputInvalid("The first step takes many items.", errors=[_error("input", "must be an array of items")])
    items = value if many else [value]
    errors = [
        _error(f"input[{index}]{path}" if many else f"input{path}", rule)
        for index, item in enumerate(items)
        for path, rule in _mismatches(contract, item)
    ]
    if errors:
        told = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
        raise InputInvalid(told, errors=errors[:100])
    return "MULTI" if many else "UNI"


def _mismatches(contract: Contract, item: Any) -> list[tuple[str, str]]:
    type_id = contract.steps[0].input_type_id
    return mismatches(contract.canonical_types, type_id, item) if type_id else []


def _error(field: str, rule: str) -> dict[str, str]:
    return {"field": field, "code": "INPUT_TYPE", "message": rule}


_INSERT = """
WITH accepted AS (
    INSERT INTO executions_execution (
        id, tenant_id, release_id, pipeline_id, contract_version, release_version, execution_key, input_digest, input,
        input_shape, result_shape, checkpoints, budget_start, takeovers, status, version, event_count,
        current_step_index, attempt, next_due_at, submitted_by, created_at, updated_at)
    VALUES (%(id)s, %(tenant)s, %(release)s, %(pipeline_id)s, %(contract_version)s, %(release_version)s, %(key)s,
        %(digest)s, %(input)s, %(input_shape)s, %(result_shape)s,
        %(checkpoints)s, 0, 0, %(status)s, 0, 1, 0, 0, now(),
        %(actor)s, now(), now())
    ON CONFLICT (tenant_id, pipeline_id, execution_key) DO NOTHING
    RETURNING id, status
), kept AS (
    INSERT INTO executions_wireform (execution_id, input)
    SELECT id, %(wire_input)s::jsonb FROM accepted WHERE %(wire_input)s::jsonb IS NOT NULL
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
SELECT id, 1, 'SUBMITTED', status, %(actor)s, %(pin)s, now() FROM accepted
RETURNING execution_id
"""


def _insert(
    tenant: Tenant,
    release: Release,
    contract: Contract | None,
    value: Any,
    wire_input: Any,
    digest: str,
    shape: str,
    idempotency_key: str,
    actor: str,
) -> uuid.UUID | None:
    pin = {"contractVersion": release.contract_version, "releaseVersion": release.release_version}
    columns: dict[str, Any] = {
        "id": uuid.uuid4(),
        "tenant": tenant.pk,
        "release": release.pk,
        "pipeline_id": release.pipeline.pipeline_id,
        "contract_version": release.contract_version,
        "release_version": release.release_version,
        "key": idempotency_key,
        "digest": digest,
        "input": Jsonb(value),
        "wire_input": None if wire_input is None else Jsonb(wire_input),
        "input_shape": shape,
        "result_shape": contract.result_shape if contract else "SINGLE",
        "checkpoints": release.artifacts.filter(capabilities__contains=[CHECKPOINTS]).exists(),
        "status": State.QUEUED.value,
        "actor": actor,
        "pin": Jsonb(pin),
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, columns)
        row = cursor.fetchone()
    return row[0] if row else None
