"""What operators do with one execution: re-drive it on its pinned release, or cancel it."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction

from executions import metrics
from executions.awaits import awaits, questions
from executions.awaits.recipients import Person
from executions.errors import (
    CancelRefused,
    ExecutionChanged,
    ExecutionReplaced,
    RedriveRefused,
    ReleaseRevokedConfirmation,
    VersionMismatch,
)
from executions.lifecycle import queries, replacements, statements
from executions.models import Execution, Worker
from executions.models.states import MOVES, State
from executions.state_machine import moves
from executions.state_machine.moves import Move
from executions.submission.admission import require_allowed
from executions.workers import registry
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from releases.errors import ReleaseRetired
from releases.models import Pipeline, Revocation
from releases.states import Status
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.messages.celery_messages import Shape


@dataclass(frozen=True, slots=True)
class Redriven:
    """The execution after it was queued, and its status before."""

    execution: Execution
    previous_status: State


@dataclass(frozen=True, slots=True)
class Answer:
    """A new answer of a question, and who gives it."""

    question_id: uuid.UUID
    response: Any
    person: Person | None = None


def redrivable(allow_failed: bool) -> frozenset[State]:
    """Return the states that allow a re-drive. FAILED, which no retry helps, is among them only with `allow_failed`."""
    return frozenset({State.DLQ, State.FAILED}) if allow_failed else frozenset({State.DLQ})


def redrive(
    tenant: Tenant,
    execution_id: uuid.UUID,
    *,
    actor: str,
    reason: str,
    expected_version: int | None = None,
    allow_failed: bool = False,
    allow_revoked: bool = False,
    allow_replaced: bool = False,
    answer: Answer | None = None,
) -> Redriven:
    """Queue an execution again at the step where it failed, with a fresh retry budget and the same pin.

    With `allow_revoked`, it runs even if its release is revoked. With `allow_replaced`, it runs even if another
    execution carries on its work; the event then names that one. `answer` takes the place of an answer that the worker
    could not read. Raises, in this order: `TenantNotAllowed`, `ExecutionUnknown`, `RedriveRefused`, `VersionMismatch`,
    `ReleaseRetired`, `ReleaseRevokedConfirmation`, those of `questions.replaced`, `ExecutionReplaced`, and
    `ExecutionChanged` if another process changed its state first.
    """
    require_allowed(tenant)
    with transaction.atomic():
        execution = queries.execution(tenant, execution_id)
        require_redrivable(execution, expected_version, allow_failed)
        require_runnable(execution, allow_revoked)
        replacements.lock([execution_id])
        replaced = replacements.replacement(execution_id) if allow_replaced else None
        details = {} if answer is None else {"answerReplaced": str(answer.question_id)}
        details |= {} if replaced is None else {"replacedBy": str(replaced.id)}
        move = redrive_move(execution, actor=actor, reason=reason, **details)
        if replaced is not None:
            move = move._replace(replaced_by=replaced.id)
        if answer is not None:
            progress = questions.replaced(execution, answer.question_id, answer.response, answer.person)
            shape: Shape = "MULTI" if execution.progress_shape == "MULTI" else "UNI"
            move = move._replace(progress=progress, progress_shape=shape)
        if not moves.apply([move]):
            raise _refusal(execution_id, allow_replaced)
        wakeup.send_once(DISPATCH_TASK)
        audit.record(
            Act.EXECUTION_REDRIVE,
            tenant=tenant,
            actor=actor,
            object=execution_id,
            reason=reason,
            previousStatus=move.source,
            **details,
        )
        return Redriven(queries.execution(tenant, execution_id), move.source)


def _refusal(execution_id: uuid.UUID, allow_replaced: bool) -> ExecutionReplaced | ExecutionChanged:
    """Return why the guard of a re-drive has failed."""
    found = None if allow_replaced else replacements.replacement(execution_id)
    if found is not None:
        return found.refusal()
    return ExecutionChanged(f"Execution {execution_id} changed before re-drive could be admitted")


def require_redrivable(execution: Execution, expected_version: int | None, allow_failed: bool) -> None:
    """Raise `RedriveRefused` or `VersionMismatch` if the execution may not be re-driven."""
    if State(execution.status) not in redrivable(allow_failed):
        raise RedriveRefused(
            f"Execution {execution.pk} cannot be re-driven from status {execution.status}",
            executionStatus=execution.status,
        )
    require_version(execution, expected_version)


def require_version(execution: Execution, expected: int | None) -> None:
    """Raise `VersionMismatch` if the caller expects a version and the execution has another."""
    if expected is not None and expected != execution.version:
        raise VersionMismatch(
            f"Execution {execution.pk} version mismatch: expected {expected} but current version is "
            f"{execution.version}",
            currentVersion=execution.version,
        )


def redrive_move(execution: Execution, *, actor: str, reason: str, **details: str) -> Move:
    """Return the guarded move that re-drives `execution` as it was read, with `details` in its event.

    The attempt number grows, and the retry budget is full again. Step, progress and pin stay. An execution that failed
    at an await makes the await's requests again.
    """
    attempt = execution.attempt + 1
    return Move.of(
        execution,
        State.QUEUED,
        "REDRIVEN",
        actor,
        reason,
        {"attempt": attempt, **details},
        attempt=attempt,
        budget_start=attempt,
        transition_key=f"redrive:{execution.pk}:{execution.version}",
    )


def lock_statuses(release_ids: Collection[int]) -> dict[int, Status]:
    """Return the statuses of the releases. None of them is retired before the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_RELEASES, {"ids": list(release_ids)})
        return {release_id: Status(status) for release_id, status in cursor.fetchall()}


def require_runnable(execution: Execution, allow_revoked: bool) -> None:
    """Raise `ReleaseRetired` or, without `allow_revoked`, `ReleaseRevokedConfirmation`.

    The release is not retired before the transaction ends.
    """
    status = lock_statuses([execution.release_id])[execution.release_id]
    if status is Status.RETIRED:
        raise ReleaseRetired(
            f"Release {execution.release_version!r} is retired, so execution {execution.pk} cannot run again.",
            releaseVersion=execution.release_version,
        )
    if status is Status.REVOKED and not allow_revoked:
        raise _unconfirmed(execution)


def _unconfirmed(execution: Execution) -> ReleaseRevokedConfirmation:
    reason = Revocation.objects.values_list("reason", flat=True).get(release=execution.release_id)
    pipelines = Pipeline.objects.filter(releases=execution.release_id)
    active = pipelines.values_list("activation__release__release_version", flat=True).get()
    return ReleaseRevokedConfirmation(
        f"Execution {execution.pk} is pinned to release {execution.release_version!r}, which is revoked: {reason}",
        releaseVersion=execution.release_version,
        revocationReason=reason,
        activeReleaseVersion=active,
    )


MOST_ATTEMPTS = 10


def cancel(
    tenant: Tenant, execution_id: uuid.UUID, *, actor: str, reason: str, expected_version: int | None = None
) -> Execution:
    """Cancel an execution and its open questions. An execution that is already cancelled is returned unchanged.

    The lease ends, so the worker's outcome is dropped. A worker that runs the execution is notified; the step decides
    whether it ends early. Raises, in this order: `ExecutionUnknown`, `CancelRefused`, `VersionMismatch`, and
    `ExecutionChanged` if it changes state too often meanwhile.
    """
    for _ in range(MOST_ATTEMPTS):
        execution = queries.execution(tenant, execution_id)
        if execution.status == State.CANCELLED:
            return execution
        if State.CANCELLED not in MOVES[State(execution.status)]:
            raise CancelRefused(
                f"Execution {execution_id} cannot be cancelled from status {execution.status}",
                executionStatus=execution.status,
            )
        require_version(execution, expected_version)
        with transaction.atomic():
            if moves.apply([cancel_move(execution, actor=actor, reason=reason)]):
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
                transaction.on_commit(partial(count_cancelled, execution))
                return queries.execution(tenant, execution_id)
        # Another process moved it first. Unless a version is expected, any live state can be cancelled.
    raise ExecutionChanged(f"Execution {execution_id} changed before it could be cancelled")


def count_cancelled(execution: Execution) -> None:
    """Count a cancellation in the metrics, after its commit."""
    release = execution.tenant.slug, execution.pipeline_id, execution.release_version
    metrics.finished.add(*release, State.CANCELLED.value)
    metrics.write_lines("Cancelled", [(release, execution.pk)])


def cancel_move(execution: Execution, *, actor: str, reason: str, **details: str) -> Move:
    """Return the guarded move that cancels `execution` as it was read, with `details` in its event."""
    data = {"stepIndex": execution.current_step_index, **holder(execution), **details}
    return Move.of(execution, State.CANCELLED, "CANCELLED", actor, reason, data)


def holder(execution: Execution) -> dict[str, str]:
    """Return the worker that holds the lease, with its registered artifact; nothing if none has named the lease."""
    if execution.lease_worker is None:
        return {}
    rows = Worker.objects.filter(
        tenant=execution.tenant_id, pipeline_id=execution.pipeline_id, worker_id=execution.lease_worker
    )
    digest = rows.values_list("artifact_digest", flat=True).first() or ""
    return {"worker": execution.lease_worker, "registeredArtifactDigest": digest}
