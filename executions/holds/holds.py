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
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from executions.errors import ExecutionUnknown, NotPaused, PauseRefused
from executions.models import PAYLOADS_OF_EXECUTION, TERMINAL_VALUES, Execution, Hold, Interaction
from executions.models.states import State
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.database.bounded import counts_up_to
from foundation.database.compiled import Compiled
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
MOST_COUNTED: Final = 10_000
"""How many executions of a status `covered` counts. Readers only see that there are more."""
COVERED: Final = (State.QUEUED, State.RUNNING, State.WAIT_RETRY, State.WAITING_EXTERNAL)
"""The statuses of the executions that a pause covers."""

Target = Execution | Release | Pipeline


@dataclass(frozen=True, slots=True)
class Pause:
    """The open hold of a target. `created` is False if the target was paused before."""

    target: Target
    hold: Hold
    created: bool

    @property
    def covered(self) -> dict[State, int] | None:
        """How many executions of each status it covers now, as `covered` counts them; None for one execution."""
        return None if isinstance(self.target, Execution) else covered(self.target)


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
            return Pause(target, earlier, created=False)
        if isinstance(target, Execution):
            hold_id = _pause_execution(target, actor, reason.strip())
        else:
            hold_id = _pause_releases(target, actor, reason.strip(), refuses_submissions)
        hold = Hold.objects.get(pk=hold_id)
        _audit("pause", target, actor, hold.reason)
    log.info("%s paused %s %s", actor, _kind(target), target)
    return Pause(target, hold, created=True)


def pause_executions(executions: Sequence[Execution], *, actor: str, reason: str) -> set[uuid.UUID]:
    """Pause executions as part of another act, which is audited for all. Return the ids of those that were paused.

    The others are paused already, have ended, or have changed since they were read. Runs in the caller's transaction.
    """
    if not executions:
        return set()
    releases = Release.objects.filter(pk__in={execution.release_id for execution in executions})
    with connection.cursor() as cursor:
        cursor.execute(LOCK_PIPELINES, [list(releases.values_list("pipeline_id", flat=True))])
    return set(_pause_executions({execution.pk: execution.version for execution in executions}, actor, reason))


def hold_release(release: Release, *, actor: str, reason: str) -> None:
    """Pause `release` as part of another act, which is audited for both. An open hold of the release stays.

    The caller's transaction has locked the pipeline. When this returns, no due work of the release is claimed any more.
    """
    if open_hold(release) is None:
        _pause_releases(release, actor, reason, refuses_submissions=False)


def resume(target: Target, *, actor: str, reason: str = "") -> Hold:
    """End the open hold of `target` and return it. Work continues unless another hold covers it.

    What waits for a time waits as much longer as the hold has stopped it: retries, timers, deadlines of questions
    and attempts of webhooks. The caller has checked access to the tenant. Raises `NotPaused`.
    """
    with transaction.atomic():
        _lock_pipeline(target)
        hold = open_hold(target)
        if hold is None:
            raise NotPaused(f"The {_kind(target)} {target} is not paused.")
        with connection.cursor() as cursor:
            cursor.execute(RESUME, {"hold": hold.pk, "actor": actor, "reason": reason.strip()})
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
        cursor.execute(LOCK_PIPELINES, [[pipeline_id]])


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
        cursor.execute(PAUSE_EXECUTIONS, parameters)
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
        cursor.execute(PAUSE_RELEASES, parameters)
        [hold_id] = cursor.fetchone()
        cursor.execute(WAIT_FOR_CLAIMS, {"pipeline": pipeline.pk})
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
            cursor.execute(LOCK_WAITING, {"hold": hold.pk, "releases": _releases(target)})
            ids = [execution_id for (execution_id,) in cursor.fetchall()]
        for start in range(0, len(ids), MOVED_AT_ONCE):
            some: dict[str, Any] = {"hold": hold.pk, "ids": ids[start : start + MOVED_AT_ONCE]}
            cursor.execute(MOVE_DUE, some)
            cursor.execute(MOVE_DEADLINES, {**some, "open": [status.value for status in Interaction.OPEN]})


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


def covered(target: Release | Pipeline) -> dict[State, int]:
    """Return how many executions of each status in COVERED a pause of `target` covers, at most MOST_COUNTED + 1 each.

    Makes one query, on the index of live executions.
    """
    releases = {"release": target} if isinstance(target, Release) else {"release__in": target.releases.values("pk")}
    rows = Execution.objects.filter(**releases).exclude(status__in=TERMINAL_VALUES)
    counts = counts_up_to(MOST_COUNTED, (rows.filter(status=status) for status in COVERED))
    return dict(zip(COVERED, counts, strict=True))


def refusing(release: Release) -> Hold | None:
    """Return the oldest open hold of a release or its pipeline that refuses submissions, or None."""
    return _REFUSING.first(release=release.pk, pipeline=release.pipeline_id)


def accepting(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the releases among `rows` for which `refusing` returns None."""
    targets = Q(release=OuterRef("pk")) | Q(pipeline=OuterRef("pipeline_id"))
    return rows.filter(~Exists(_open(targets).filter(refuses_submissions=True)))


def with_pauses(rows: QuerySet[Pipeline]) -> QuerySet[Any]:
    """Return the pipelines, each with `is_paused`: whether it or its active release is paused."""
    targets = Q(pipeline=OuterRef("pk")) | Q(release=OuterRef("activation__release"))
    return rows.annotate(is_paused=Exists(_open(targets)))


def _of(release: Release) -> Q:
    return Q(release=release) | Q(pipeline=release.pipeline_id)


def _open(targets: Q) -> QuerySet[Hold]:
    return Hold.objects.filter(targets, ended_at=None).order_by("started_at", "id")


_REFUSING = Compiled(
    lambda release, pipeline: _open(Q(release=release) | Q(pipeline=pipeline)).filter(refuses_submissions=True)[:1],
    release=-1,
    pipeline=-2,
)


# --- the SQL statements: what each does, and what it means if it affects or returns no row ---

# Locks pipelines in the order of their keys, which serialises all pauses and resumes of the pipelines, their releases
# and their executions. No row is impossible.
LOCK_PIPELINES = """
SELECT p.id FROM releases_pipeline p WHERE p.id = ANY(%s) ORDER BY p.id FOR UPDATE
"""

# Pauses executions that have these versions, or any version for null, each with its event. No row: each is paused or
# terminal, has changed, or was removed.
PAUSE_EXECUTIONS = """
WITH locked AS (
    SELECT e.id, e.tenant_id FROM executions_execution e
    JOIN unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS r(id, version)
        ON r.id = e.id AND coalesce(r.version, e.version) = e.version
    WHERE NOT e.held AND e.status <> ALL (%(terminal)s) ORDER BY e.id FOR UPDATE OF e
), hold AS (
    INSERT INTO executions_hold (tenant_id, execution_id, reason, refuses_submissions, started_by)
    SELECT tenant_id, id, %(reason)s, false, %(actor)s FROM locked RETURNING id, execution_id
), held AS (
    UPDATE executions_execution e SET held = true, event_count = e.event_count + 1
    FROM locked WHERE e.id = locked.id RETURNING e.id, e.event_count, e.status
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, 'PAUSED', status, %(actor)s, jsonb_build_object('reason', %(reason)s::text) FROM held
)
SELECT execution_id, id FROM hold
"""

# Pauses a release or a pipeline. No row is impossible: the caller has the lock and found no open hold.
PAUSE_RELEASES = """
INSERT INTO executions_hold (tenant_id, release_id, pipeline_id, reason, refuses_submissions, started_by)
VALUES (%(tenant)s, %(release)s, %(pipeline)s, %(reason)s, %(refuses)s, %(actor)s) RETURNING id
"""

# Waits for the claims of the pipeline that began before the hold. Later claims see the hold (`may_claim`).
WAIT_FOR_CLAIMS = "SELECT pg_advisory_xact_lock(7307, hashint8(%(pipeline)s))"

# Ends a hold, with the event of its execution if it holds one. No row: the hold has ended, or is of a release.
RESUME = """
WITH ended AS (
    UPDATE executions_hold SET ended_at = now(), ended_by = %(actor)s, end_reason = %(reason)s
    WHERE id = %(hold)s AND ended_at IS NULL RETURNING execution_id
), free AS (
    UPDATE executions_execution e SET held = false, event_count = e.event_count + 1
    FROM ended WHERE e.id = ended.execution_id RETURNING e.id, e.event_count, e.status
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
SELECT id, event_count, 'RESUMED', status, %(actor)s, jsonb_build_object('reason', %(reason)s::text) FROM free
"""

# Locks the executions of releases that wait for a time which had not passed when the hold began. No row: none waits.
LOCK_WAITING = """
SELECT e.id FROM executions_execution e JOIN executions_hold h ON h.id = %(hold)s
WHERE e.release_id = ANY(%(releases)s) AND NOT (e.status IN ('CANCELLED', 'DLQ', 'FAILED', 'SUCCEEDED'))
    AND (e.status = 'WAITING_EXTERNAL'
        OR e.status IN ('QUEUED', 'WAIT_RETRY') AND e.next_due_at > greatest(h.started_at, e.updated_at))
ORDER BY e.id FOR UPDATE OF e
"""

# The following two move what waits for a time by the time for which a hold stopped it: from the start of the hold, or
# of the wait if that is later, to the end of the hold, or to the start of the earliest other open hold of the
# execution, which counts the rest itself. So time is counted once, even if holds overlap. `updated_at` is the start of
# a wait, so these statements keep it. A time that had passed when the hold stopped it stays, and so does one that the
# submission named. No row: nothing waits.
MOVE_DUE = """
UPDATE executions_execution e SET next_due_at = e.next_due_at + (s.until - s.since)
FROM (
    SELECT x.id, greatest(h.started_at, x.updated_at) AS since, least(h.ended_at, (
        SELECT min(o.started_at) FROM executions_hold o WHERE o.ended_at IS NULL
            AND (o.execution_id = x.id OR o.release_id = x.release_id OR o.pipeline_id = (
                SELECT r.pipeline_id FROM releases_release r WHERE r.id = x.release_id)))) AS until
    FROM executions_execution x JOIN executions_hold h ON h.id = %(hold)s
    WHERE x.id = ANY(%(ids)s) AND x.status IN ('QUEUED', 'WAIT_RETRY') AND x.next_due_at < '9000-01-01'
        AND (x.version > 0 OR x.not_before IS NULL)
) s
WHERE e.id = s.id AND s.until > s.since AND e.next_due_at > s.since
"""
MOVE_DEADLINES = """
WITH hold AS MATERIALIZED (
    SELECT x.id AS execution_id, h.started_at, least(h.ended_at, (
        SELECT min(o.started_at) FROM executions_hold o WHERE o.ended_at IS NULL
            AND (o.execution_id = x.id OR o.release_id = x.release_id OR o.pipeline_id = (
                SELECT r.pipeline_id FROM releases_release r WHERE r.id = x.release_id)))) AS until
    FROM executions_execution x JOIN executions_hold h ON h.id = %(hold)s
    WHERE x.id = ANY(%(ids)s) AND x.status = 'WAITING_EXTERNAL'
), moved AS (
    SELECT i.id, CASE WHEN i.deadline > greatest(h.started_at, i.created_at)
            THEN greatest(h.until - greatest(h.started_at, i.created_at), '0') ELSE '0' END AS deadline,
        CASE WHEN i.next_dispatch_at > greatest(h.started_at, i.updated_at)
            THEN greatest(h.until - greatest(h.started_at, i.updated_at), '0') ELSE '0' END AS dispatch
    FROM executions_interaction i JOIN hold h ON h.execution_id = i.execution_id
    WHERE i.status = ANY(%(open)s)
)
UPDATE executions_interaction i SET deadline = i.deadline + m.deadline,
    first_deadline = CASE WHEN m.deadline > '0' THEN coalesce(i.first_deadline, i.deadline) ELSE i.first_deadline END,
    next_dispatch_at = i.next_dispatch_at + m.dispatch
FROM moved m WHERE i.id = m.id AND (m.deadline > '0' OR m.dispatch > '0')
"""
