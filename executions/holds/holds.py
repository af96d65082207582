"""Pauses and resumes executions, releases and pipelines.

While a hold is open, no due work of its target is claimed: no execution, timer, deadline or webhook. What already runs
finishes, and its outcome is recorded. Several holds may cover one execution; its work continues when all have ended.

The lock of the pipeline's row serialises the pauses and resumes of the pipeline, its releases and its executions. It is
taken before the locks of executions. The caller has checked access to the tenant.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from executions.errors import ExecutionUnknown, NotPaused, PauseRefused
from executions.holds import statements
from executions.models import PAYLOADS_OF_EXECUTION, TERMINAL_VALUES, Execution, Hold, Interaction
from executions.models.states import State
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from releases.errors import ReasonRequired
from releases.models import Pipeline, Release
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

log = logging.getLogger(__name__)
_OVER = (State.SUCCEEDED.value, State.CANCELLED.value)
"""Nothing of such an execution is left to do, so its hold has no effect. It is removed with the execution."""
MOVED_AT_ONCE = 1000
"""How many executions one statement moves."""

Target = Execution | Release | Pipeline


@dataclass(frozen=True, slots=True)
class Pause:
    """The open hold of a target. `created` is False if the target was paused before."""

    hold: Hold
    created: bool


def pause(target: Target, *, actor: str, reason: str, refuses_submissions: bool = False) -> Pause:
    """Pause `target`. When this returns, none of its due work is claimed any more.

    With `refuses_submissions`, the pause of a release or a pipeline also refuses new executions; otherwise they are
    accepted and wait. If the target is paused, nothing changes, and its open hold is returned. The caller has checked
    access to the tenant. Raises `ReasonRequired`, and for an execution `PauseRefused` if it is terminal.
    """
    if not reason.strip():
        raise ReasonRequired("A pause requires a reason.")
    with transaction.atomic():
        _lock_pipeline(target)
        earlier = open_hold(target)
        if earlier is not None:
            return Pause(earlier, created=False)
        if isinstance(target, Execution):
            hold_id = _pause_execution(target, actor, reason.strip())
        else:
            hold_id = _pause_releases(target, actor, reason.strip(), refuses_submissions)
        hold = Hold.objects.get(pk=hold_id)
        _audit("pause", target, actor, hold.reason)
    log.info("%s paused %s %s", actor, _kind(target), target)
    return Pause(hold, created=True)


def pause_executions(executions: Sequence[Execution], *, actor: str, reason: str) -> set[uuid.UUID]:
    """Pause executions as part of another act, which is audited for all. Return the ids of those that were paused.

    The others are paused already, have ended, or have changed since they were read. Runs in the caller's transaction.
    """
    if not executions:
        return set()
    releases = Release.objects.filter(pk__in={execution.release_id for execution in executions})
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_PIPELINES, [list(releases.values_list("pipeline_id", flat=True))])
    return set(_pause_executions({execution.pk: execution.version for execution in executions}, actor, reason))


def hold_release(release: Release, *, actor: str, reason: str) -> None:
    """Pause `release` as part of another act, which is audited for both. An open hold of the release stays.

    The caller's transaction has locked the pipeline. When this returns, no due work of the release is claimed any more.
    """
    if open_hold(release) is None:
        _pause_releases(release, actor, reason, refuses_submissions=False)


def resume(target: Target, *, actor: str, reason: str = "") -> Hold:
    """End the open hold of `target` and return it. Work continues unless another hold covers it.

    What waits for a time waits as much longer as the hold has stopped it: retries, timers, deadlines of interactions
    and attempts of webhooks. The caller has checked access to the tenant. Raises `NotPaused`.
    """
    with transaction.atomic():
        _lock_pipeline(target)
        hold = open_hold(target)
        if hold is None:
            raise NotPaused(f"The {_kind(target)} {target} is not paused.")
        with connection.cursor() as cursor:
            cursor.execute(statements.RESUME, {"hold": hold.pk, "actor": actor, "reason": reason.strip()})
        _move_times(hold, target)
        hold.refresh_from_db()
        wakeup.send_once(DISPATCH_TASK)
        _audit("resume", target, actor, hold.end_reason or "")
    log.info("%s resumed %s %s", actor, _kind(target), target)
    return hold


def open_hold(target: Target) -> Hold | None:
    """Return the open hold of the target itself, without those that cover it; None if it has none."""
    return Hold.objects.filter(**{_kind(target): target}, ended_at=None).first()


def _audit(act: str, target: Target, actor: str, reason: str) -> None:
    kind = _kind(target)
    tenant = target.pipeline.tenant if isinstance(target, Release) else target.tenant
    name = target.audit_name if isinstance(target, Release) else str(target)
    audit.record(Act(f"{kind}.{act}"), tenant=tenant, actor=actor, object=name, reason=reason)


def _kind(target: Target) -> str:
    return type(target).__name__.lower()


def _lock_pipeline(target: Target) -> None:
    if isinstance(target, Pipeline):
        pipeline_id = target.pk
    elif isinstance(target, Release):
        pipeline_id = target.pipeline_id
    else:
        pipeline_id = Release.objects.values_list("pipeline_id", flat=True).get(pk=target.release_id)
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_PIPELINES, [[pipeline_id]])


def _pause_executions(versions: Mapping[uuid.UUID, int | None], actor: str, reason: str) -> dict[uuid.UUID, int]:
    """Pause the executions that have these versions; None stands for any. Return the hold of each that was paused."""
    parameters: dict[str, Any] = {
        "ids": list(versions),
        "versions": list(versions.values()),
        "reason": reason,
        "actor": actor,
        "terminal": TERMINAL_VALUES,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.PAUSE_EXECUTIONS, parameters)
        return dict(cursor.fetchall())


def _pause_execution(execution: Execution, actor: str, reason: str) -> int:
    holds = _pause_executions({execution.pk: None}, actor, reason)
    if execution.pk in holds:
        return holds[execution.pk]
    status = Execution.objects.filter(pk=execution.pk).values_list("status", flat=True).first()
    if status is None:
        raise ExecutionUnknown(f"There is no execution {execution.pk}.")
    raise PauseRefused(f"Execution {execution.pk} cannot be paused from status {status}", executionStatus=status)


def _pause_releases(target: Release | Pipeline, actor: str, reason: str, refuses_submissions: bool) -> int:
    pipeline = target.pipeline if isinstance(target, Release) else target
    parameters = {
        "tenant": pipeline.tenant_id,
        "release": target.pk if isinstance(target, Release) else None,
        "pipeline": target.pk if isinstance(target, Pipeline) else None,
        "reason": reason,
        "refuses": refuses_submissions,
        "actor": actor,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.PAUSE_RELEASES, parameters)
        [hold_id] = cursor.fetchone()
        cursor.execute(statements.WAIT_FOR_CLAIMS, {"pipeline": pipeline.pk})
    return int(hold_id)


def _releases(target: Release | Pipeline) -> list[int]:
    return [target.pk] if isinstance(target, Release) else list(target.releases.values_list("pk", flat=True))


def _move_times(hold: Hold, target: Target) -> None:
    """Move the due times, deadlines and dispatch times of the executions that the ended hold has stopped."""
    ids: list[Any]
    with connection.cursor() as cursor:
        if isinstance(target, Execution):
            ids = [target.pk]
        else:
            cursor.execute(statements.LOCK_WAITING, {"hold": hold.pk, "releases": _releases(target)})
            ids = [execution_id for (execution_id,) in cursor.fetchall()]
        for start in range(0, len(ids), MOVED_AT_ONCE):
            some: dict[str, Any] = {"hold": hold.pk, "ids": ids[start : start + MOVED_AT_ONCE]}
            cursor.execute(statements.MOVE_DUE, some)
            cursor.execute(statements.MOVE_DEADLINES, {**some, "open": [status.value for status in Interaction.OPEN]})


# --- reading ---


def open_holds(tenant: Tenant) -> QuerySet[Hold]:
    """Return the tenant's open holds, newest first, without those of executions that succeeded or were cancelled."""
    rows = Hold.objects.filter(tenant=tenant, ended_at=None).exclude(execution__status__in=_OVER)
    rows = rows.select_related("tenant", "execution", "pipeline", "release__pipeline")
    return rows.defer(*PAYLOADS_OF_EXECUTION).order_by("-started_at", "-id")


def holds_of(execution: Execution) -> list[Hold]:
    """Return the open holds that keep an execution from being claimed: its own, its release's and its pipeline's."""
    if execution.status in _OVER:
        return []
    return list(_open(Q(execution=execution) | _of(execution.release)))


def holds_of_release(release: Release) -> list[Hold]:
    """Return the open holds of a release and of its pipeline, the oldest first."""
    return list(_open(_of(release)))


def refusing(release: Release) -> Hold | None:
    """Return the oldest open hold of a release or its pipeline that refuses submissions, or None."""
    return _open(_of(release)).filter(refuses_submissions=True).first()


def accepting(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the releases among `rows` for which `refusing` returns None."""
    targets = Q(release=OuterRef("pk")) | Q(pipeline=OuterRef("pipeline_id"))
    return rows.filter(~Exists(_open(targets).filter(refuses_submissions=True)))


def _of(release: Release) -> Q:
    return Q(release=release) | Q(pipeline=release.pipeline_id)


def _open(targets: Q) -> QuerySet[Hold]:
    return Hold.objects.filter(targets, ended_at=None).order_by("started_at", "id")
