"""Retires registered releases that nothing needs any more, and revokes others. Both are permanent.

A retirement locks the row of the release exclusively. Each submission and each re-drive holds a share lock on it from
its check of the status to its commit. So it is either counted as a blocker, or finds the release retired.

A revocation carries an order about the open executions. A pause is made in the same transaction. The order to fail and
its progress are in the database, so any control worker can continue it. Each batch is one transaction, which locks the
order, so that an execution is counted once even if several processes work at the same time.
"""

import logging
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from executions.awaits import awaits
from executions.holds import holds
from executions.lifecycle import statements
from executions.lifecycle.interventions import holder
from executions.models import DeadLetter, Execution
from executions.models.states import State
from executions.state_machine import dead_letters, moves
from executions.state_machine.moves import Move, owner
from executions.workers import registry
from foundation import wakeup
from foundation.database import writes
from foundation.database.postgresql.outage import is_outage
from foundation.plurals import up_to
from governance.gradual import changes
from governance.requests import states
from releases import pointer
from releases.errors import ReasonRequired, ReleaseNotRegistered, RetirementBlocked
from releases.models import Pipeline, Release, Retirement, Revocation
from releases.pointer import require_registered
from releases.states import MOVES, RequestStatus, Status
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)
Order = Revocation.OpenExecutions
FAIL_TASK = "executions.fail_revoked"
CODE = "RELEASE_REVOKED"
LONGEST_MESSAGE = Execution._meta.get_field("error_message").max_length


class Kind(StrEnum):
    """Why a release is needed.

    It is active or open to callers, a request to activate it collects approvals or waits for its time, a gradual
    activation of it is running, its executions have not ended, or they may still be re-driven.
    """

    ACTIVE = "ACTIVE"
    SKEW_GRACE = "SKEW_GRACE"
    APPROVAL = "APPROVAL"
    SCHEDULE = "SCHEDULE"
    GRADUAL = "GRADUAL"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    WAITING = "WAITING"
    FAILED = "FAILED"
    DEAD_LETTERED = "DEAD_LETTERED"
    CAMPAIGN = "CAMPAIGN"


FAILURES = frozenset({Kind.FAILED, Kind.DEAD_LETTERED})
"""The kinds that a retirement may give up."""


MOST_COUNTED: Final = 10_000
"""How many executions of a kind pages count. They only see that there are more."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A kind of rows that need the release, and their number, which is at least 1."""

    kind: Kind
    count: int


def shown_count(count: int) -> str:
    """Return a count, or a sum of counts, as pages show it."""
    return up_to(count, MOST_COUNTED)


def blockers(release: Release, *, exact: bool = False) -> list[Blocker]:
    """Return everything that needs the release now, from one snapshot. Makes one query.

    A failure counts until retention removes it, because it can be re-driven until then. A failed smoke test does not
    count. A campaign counts while it has an execution of the release that it has yet to re-drive. Unless `exact`, the
    executions of a kind are counted up to MOST_COUNTED + 1.
    """
    parameters = {"release": release.pk, "pipeline": release.pipeline_id, "tenant": release.pipeline.tenant_id}
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKERS, {**parameters, "most": None if exact else MOST_COUNTED + 1})
        counts = dict(cursor.fetchall())
    return [Blocker(kind, counts[name]) for kind, name in _NAMES.items() if name in counts]


# Also returns a row if the release is active, if it is in a running gradual activation, and if it is in its
# grace.
_BLOCKERS = f"""
{statements.COUNT_BLOCKERS}
UNION ALL
SELECT 'ACTIVE', 1 FROM releases_pipeline p JOIN releases_activation a ON a.id = p.activation_id
WHERE p.id = %(pipeline)s AND a.release_id = %(release)s
UNION ALL
SELECT 'GRADUAL', 1 FROM releases_gradualactivation g
WHERE g.pipeline_id = %(pipeline)s AND g.status = 'RUNNING' AND %(release)s IN (g.baseline_id, g.candidate_id)
UNION ALL
SELECT 'SKEW_GRACE', 1 FROM ({pointer.OPENING}) AS o (is_open, grace_ends)
WHERE o.is_open AND o.grace_ends IS NOT NULL
"""  # noqa: S608  # nosec B608
REQUESTS = {Kind.APPROVAL: RequestStatus.OPEN, Kind.SCHEDULE: RequestStatus.APPROVED}
"""The status of the requests that each kind counts."""
STATUSES = {
    Kind.QUEUED: "QUEUED",
    Kind.RUNNING: "RUNNING",
    Kind.RETRYING: "WAIT_RETRY",
    Kind.WAITING: "WAITING_EXTERNAL",
    Kind.FAILED: "FAILED",
    Kind.DEAD_LETTERED: "DLQ",
}
"""The status of the executions that each kind counts."""
_NAMES = {
    **{kind: kind.value for kind in (Kind.ACTIVE, Kind.GRADUAL, Kind.SKEW_GRACE)},
    **REQUESTS,
    **STATUSES,
    Kind.CAMPAIGN: "CAMPAIGN",
}
"""What the query calls each kind."""


def retire(release: Release, *, actor: str, reason: str, give_up_failures: bool = False) -> Retirement:
    """Retire `release` and return the retirement. A repeated call returns the first retirement.

    A retired release is never activated again, and its failed executions are never re-driven. With `give_up_failures`,
    failures that could still be re-driven do not block the retirement. Raises `ReasonRequired`, `ReleaseNotRegistered`,
    and `RetirementBlocked` with every blocker; then nothing has changed.
    """
    if not reason.strip():
        raise ReasonRequired("A retirement requires a reason.")
    with transaction.atomic():
        # An activation holds the first lock, a submission or a re-drive the second. Both are taken without a join:
        # after a wait, PostgreSQL re-reads the locked row, but not the joined rows.
        Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        locked = Release.objects.select_for_update().get(pk=release.pk)
        if locked.status == Status.RETIRED:
            event = Retirement.objects.get(release=locked)
        else:
            event = _retire(locked, actor, reason.strip(), give_up_failures)
    release.refresh_from_db(fields=("status", "status_changed_at"))
    return event


def _retire(locked: Release, actor: str, reason: str, give_up_failures: bool) -> Retirement:
    require_registered(locked)
    needs = blockers(locked, exact=True)
    ignored = [need for need in needs if give_up_failures and need.kind in FAILURES]
    if left := [need for need in needs if need not in ignored]:
        named = ", ".join(f"{need.kind} {need.count}" for need in left)
        raise RetirementBlocked(
            f"Release {locked.release_version!r} is still needed: {named}.",
            blockers=[{"kind": need.kind.value, "count": need.count} for need in left],
        )
    writes.move(
        Release.objects.filter(pk=locked.pk), MOVES, Status.REGISTERED, Status.RETIRED, status_changed_at=timezone.now()
    )
    count = sum(need.count for need in ignored)
    log.info("%s retired %s and gave up %d failures", actor, locked, count)
    event = Retirement.objects.create(release=locked, actor=actor, reason=reason, given_up_failures=count)
    locked.record(Act.RELEASE_RETIRE, actor, reason=reason, givenUpFailures=count)
    return event


# --- revocations ---


def revoke(release: Release, *, actor: str, reason: str, open_executions: Order = Order.LEAVE) -> Revocation:
    """Revoke `release` and return the revocation. A repeated call returns the first revocation, with its order.

    The release can never be activated again. If it is active, submissions fail until another release is active. The
    order `fail` ends all open executions of the release with the code RELEASE_REVOKED soon after the commit. The order
    `pause` pauses the release: nothing of it is claimed any more until it is resumed. `leave` lets them run. A gradual
    activation in which the release is the candidate or the baseline ends as WITHDRAWN.

    Raises `ReasonRequired`, and `ReleaseNotRegistered` if the release is not registered.
    """
    if not reason.strip():
        raise ReasonRequired("A revocation requires a reason.")
    with transaction.atomic():
        # An activation holds this lock too. It is either committed before the revocation, or finds the release revoked.
        pipeline = pointer.locked(release.pipeline_id)
        withdrawn = changes.withdraw_revoked(pipeline, release, actor=actor, reason=reason.strip())
        moved = writes.move(
            Release.objects.filter(pk=release.pk),
            MOVES,
            Status.REGISTERED,
            Status.REVOKED,
            status_changed_at=timezone.now(),
        )
        if moved:
            event = Revocation.objects.create(
                release=release, actor=actor, reason=reason.strip(), open_executions=open_executions
            )
            states.fail_revoked(event)
            details: dict[str, Any] = {"withdrawnCandidate": withdrawn.candidate.release_version} if withdrawn else {}
            follow(event)
            release.record(
                Act.RELEASE_REVOKE,
                actor,
                reason=event.reason,
                openExecutions=open_executions.value,
                **details,
            )
        else:
            event = _first(release)
    release.refresh_from_db(fields=("status", "status_changed_at"))
    return event


def _first(release: Release) -> Revocation:
    """Return the revocation of a release that is already revoked. Raises `ReleaseNotRegistered` if it has none."""
    revocation = Revocation.objects.filter(release=release).first()
    if revocation is None:
        release.refresh_from_db(fields=("status",))
        raise ReleaseNotRegistered(release.release_version, release.status)
    return revocation


def follow(revocation: Revocation) -> None:
    """Pause the release of a new revocation, or wake a control worker that fails its executions, as it orders."""
    if revocation.open_executions == Order.PAUSE:
        holds.hold_release(revocation.release, actor=revocation.actor, reason=revocation.reason)
    elif revocation.open_executions == Order.FAIL:
        wakeup.send_once(FAIL_TASK)


def fail_open() -> int:
    """Carry out the unfinished orders, batch after batch. Return how many executions were failed.

    An order is complete when no execution of its release is open. An execution that is re-driven before that is failed
    again. If an order fails, the error is logged, and the others are still carried out.
    """
    unfinished = Revocation.objects.filter(open_executions=Order.FAIL, completed_at=None).order_by("revoked_at")
    failed = 0
    for revocation_id in list(unfinished.values_list("pk", flat=True)[: settings.SWEEP_LIMIT]):
        try:
            while (batch := fail_batch(revocation_id)) is not None:
                failed += batch
        except DatabaseError as error:
            if is_outage(error):
                raise
            log.exception("The order of revocation %s could not be carried out", revocation_id)
    return failed


def fail_batch(revocation_id: int) -> int | None:
    """Fail at most SWEEP_LIMIT open executions and record the progress. Return how many were failed.

    Returns None if the order is complete, or if another process is carrying it out.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.WAIT_FOR_SUBMISSIONS, {"id": revocation_id})
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.LOCK_ORDER, {"id": revocation_id})
        order = cursor.fetchone()
        if order is None:
            return None
        release_id, reason = order
        cursor.execute(statements.LOCK_OPEN, {"release": release_id, "limit": settings.SWEEP_LIMIT})
        failed = _fail([execution_id for (execution_id,) in cursor.fetchall()], reason)
        cursor.execute(statements.NOTE_PROGRESS, {"id": revocation_id, "failed": failed, "complete": not failed})
        return failed or None


def _fail(execution_ids: list[uuid.UUID], reason: str) -> int:
    """Fail the executions, which the caller has locked, and withdraw their questions. Return their number."""
    executions = list(Execution.objects.filter(pk__in=execution_ids).defer("input", "progress", "result"))
    moves.apply([_move(execution, reason) for execution in executions])
    awaits.cancel(execution_ids)
    dead_letters.write(dict.fromkeys(execution_ids, DeadLetter.Reason.RELEASE_REVOKED))
    for execution in executions:
        registry.announce_lost_lease(execution)
    return len(executions)


def _move(execution: Execution, reason: str) -> Move:
    message = f"Release {execution.release_version} was revoked: {reason}"[:LONGEST_MESSAGE]
    error = {"errorCode": CODE, "errorMessage": message}
    data = {"stepIndex": execution.current_step_index, **error, **holder(execution)}
    return Move.of(execution, State.FAILED, CODE, owner(), reason, data, error_code=CODE, error_message=message)
