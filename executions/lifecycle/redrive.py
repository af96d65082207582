"""Re-drives an execution that has failed, on the release that it is pinned to (wire protocol E.8)."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction

from executions.awaits import interactions
from executions.errors import ExecutionChanged, RedriveRefused, ReleaseRevokedConfirmation, VersionMismatch
from executions.lifecycle import queries, statements
from executions.models import Execution
from executions.models.states import State
from executions.state_machine import moves
from executions.state_machine.moves import Move
from executions.submission.admission import require_allowed
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
    """A new answer of an interaction."""

    interaction_id: uuid.UUID
    response: Any


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
    answer: Answer | None = None,
) -> Redriven:
    """Queue an execution again at the step where it failed, with a fresh retry budget and the same pin.

    With `allow_revoked`, it runs even if its release is revoked. `answer` takes the place of an answer that the worker
    could not read. Raises, in this order: `TenantNotAllowed`, `ExecutionUnknown`, `RedriveRefused`, `VersionMismatch`,
    `ReleaseRetired`, `ReleaseRevokedConfirmation`, those of `interactions.replaced`, and `ExecutionChanged` if another
    process changed its state first.
    """
    require_allowed(tenant)
    with transaction.atomic():
        execution = queries.execution(tenant, execution_id)
        check(execution, expected_version, allow_failed)
        require_runnable(execution, allow_revoked)
        details = {} if answer is None else {"answerReplaced": str(answer.interaction_id)}
        move = move_of(execution, actor=actor, reason=reason, **details)
        if answer is not None:
            progress = interactions.replaced(execution, answer.interaction_id, answer.response)
            shape: Shape = "MULTI" if execution.progress_shape == "MULTI" else "UNI"
            move = replace(move, progress=progress, progress_shape=shape)
        if not moves.apply([move]):
            raise ExecutionChanged(f"Execution {execution_id} changed before re-drive could be admitted")
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


def check(execution: Execution, expected_version: int | None, allow_failed: bool) -> None:
    """Raise `RedriveRefused` or `VersionMismatch` if the execution may not be re-driven (wire protocol B.2)."""
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


def move_of(execution: Execution, *, actor: str, reason: str, **details: str) -> Move:
    """Return the guarded move that re-drives `execution` as it was read, with `details` in its event.

    The attempt number grows, and the retry budget is full again. Step, progress and pin stay. An execution that failed
    at an await makes the await's requests again.
    """
    return Move(
        execution_id=execution.pk,
        source=State(execution.status),
        version=execution.version,
        target=State.QUEUED,
        kind="REDRIVEN",
        actor=actor,
        data={
            "reason": reason,
            "previousStatus": execution.status,
            "attempt": execution.attempt + 1,
            "errorCode": execution.error_code,
            "errorMessage": execution.error_message,
            **details,
        },
        attempt=execution.attempt + 1,
        budget_start=execution.attempt + 1,
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
