"""Cancels an execution in any state that is not terminal, on an operator's request."""

import uuid
from functools import partial

from django.db import transaction

from executions import metrics
from executions.awaits import awaits
from executions.errors import CancelRefused, ExecutionChanged
from executions.lifecycle import queries
from executions.lifecycle.redrive import require_version
from executions.models import Execution, Worker
from executions.models.states import MOVES, State
from executions.state_machine import moves
from executions.state_machine.moves import Move
from executions.workers import registry
from foundation.database.writes import sources
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

MOST_ATTEMPTS = 10


def cancel(
    tenant: Tenant, execution_id: uuid.UUID, *, actor: str, reason: str, expected_version: int | None = None
) -> Execution:
    """Cancel an execution and its open interactions. An execution that is already cancelled is returned unchanged.

    The lease ends, so the worker's outcome is dropped. A worker that runs the execution is notified; the step decides
    whether it ends early. Raises, in this order: `ExecutionUnknown`, `CancelRefused`, `VersionMismatch`, and
    `ExecutionChanged` if it changes state too often meanwhile.
    """
    for _ in range(MOST_ATTEMPTS):
        execution = queries.execution(tenant, execution_id)
        if execution.status == State.CANCELLED:
            return execution
        if State(execution.status) not in sources(MOVES, State.CANCELLED):
            raise CancelRefused(
                f"Execution {execution_id} cannot be cancelled from status {execution.status}",
                executionStatus=execution.status,
            )
        require_version(execution, expected_version)
        with transaction.atomic():
            if moves.apply([move_of(execution, actor=actor, reason=reason)]):
                awaits.cancel([execution_id])
                registry.announce_lost_lease(execution)
                audit.record(
                    Act.EXECUTION_CANCEL,
                    tenant=tenant,
                    actor=actor,
                    object=execution_id,
                    reason=reason,
                    previousStatus=execution.status,
                )
                transaction.on_commit(partial(count, execution))
                return queries.execution(tenant, execution_id)
        # Another process moved it first. Unless a version is expected, any live state can be cancelled.
    raise ExecutionChanged(f"Execution {execution_id} changed before it could be cancelled")


def count(execution: Execution) -> None:
    """Count a cancellation in the metrics, after its commit."""
    release = execution.tenant.slug, execution.pipeline_id, execution.release_version
    metrics.finished.add(*release, State.CANCELLED.value)
    metrics.write_lines("Cancelled", [(release, execution.pk)])


def move_of(execution: Execution, *, actor: str, reason: str, **details: str) -> Move:
    """Return the guarded move that cancels `execution` as it was read, with `details` in its event."""
    return Move(
        execution_id=execution.pk,
        source=State(execution.status),
        version=execution.version,
        target=State.CANCELLED,
        kind="CANCELLED",
        actor=actor,
        data={
            "reason": reason,
            "previousStatus": execution.status,
            "stepIndex": execution.current_step_index,
            "errorCode": execution.error_code,
            "errorMessage": execution.error_message,
            **holder(execution),
            **details,
        },
    )


def holder(execution: Execution) -> dict[str, str]:
    """Return the worker that holds the lease, with its registered artifact; nothing if none has named the lease."""
    if execution.lease_worker is None:
        return {}
    rows = Worker.objects.filter(
        tenant=execution.tenant_id, pipeline_id=execution.pipeline_id, worker_id=execution.lease_worker
    )
    digest = rows.values_list("artifact_digest", flat=True).first() or ""
    return {"worker": execution.lease_worker, "registeredArtifactDigest": digest}
