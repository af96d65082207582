"""Fires schedules: adds a fire for each time that has come, and submits it. Each time fires exactly once.

One statement moves a schedule to its following time and adds the fires, so two processes never add the same one. A
fire is then submitted with an idempotency key that names its schedule and its time. If a process dies in between,
another one submits the fire again when its lease has expired, and gets the same execution.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from django.db import Error, connection

from executions.errors import CancelRefused, ExecutionChanged, ExecutionUnknown, IdempotencyKeyReused
from executions.lifecycle import interventions
from executions.models import Schedule, ScheduleFire
from executions.schedules import statements
from executions.schedules.schedules import PREFIX, calendar_of
from executions.schedules.template import expanded, text_of
from executions.submission.submission import ExecutionRequest, Verdict, submit_many
from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError, QuotaExceeded

log = logging.getLogger(__name__)
SCHEDULES_AT_ONCE: Final = 100
FIRES_AT_ONCE: Final = 100
"""How many times of one schedule are added at once. The next sweep continues."""
SUBMITTED_AT_ONCE: Final = 500
BACKFILLS_AT_ONCE: Final = 20
"""How many fires of a backfill are submitted at each sweep."""
LEASE_SECONDS: Final = 30
State = ScheduleFire.State


@dataclass(frozen=True, slots=True)
class Due:
    """A fire that this process has leased."""

    id: int
    schedule_id: uuid.UUID
    scheduled_at: datetime
    is_backfill: bool


def fire() -> int:
    """Fire the due schedules, and submit DUE fires. Return how many fires were submitted or refused.

    Any number of processes may call this at once. If a schedule fails, the error is logged, and the others still fire.
    """
    advance()
    return submit_due()


def advance() -> None:
    """Move each due schedule to its following time, and add fires for the times before it."""
    with connection.cursor() as cursor:
        cursor.execute(statements.DUE_SCHEDULES, {"limit": SCHEDULES_AT_ONCE})
        due = dict(cursor.fetchall())
    for schedule in Schedule.objects.filter(pk__in=due).order_by("next_at", "pk"):
        try:
            _take(schedule, due[schedule.pk])
        except (Error, CoordinatorError, ValueError, LookupError) as error:
            if isinstance(error, Error) and is_outage(error):
                raise
            log.exception("Schedule %s could not fire", schedule.pk)


def submit_due() -> int:
    """Lease DUE fires, submit them, and record the results."""
    done = _submit(_claimed(statements.CLAIM, SUBMITTED_AT_ONCE))
    return done + _submit(_claimed(statements.CLAIM_BACKFILLS, BACKFILLS_AT_ONCE))


def key_of(schedule_id: uuid.UUID, at: datetime) -> str:
    """Return the idempotency key of the execution for a time of a schedule."""
    return f"{PREFIX}{schedule_id}:{text_of(at)}"


def _take(schedule: Schedule, now: datetime) -> None:
    """Add the fires of a due schedule up to `now`. Times that are too late to be made up are one MISSED fire."""
    first = schedule.next_at
    if first is None or first > now:
        return  # another process got there first
    calendar = calendar_of(schedule)
    earliest = now - timedelta(minutes=schedule.catch_up_minutes)
    rows: list[tuple[datetime, str, str, str]] = []
    following: datetime | None = first
    if first < earliest:
        detail = f"Each time before {text_of(earliest)} was more than {schedule.catch_up_minutes} minutes late."
        rows.append((first, State.MISSED, "TOO_LATE", detail))
        following = calendar.next(earliest - timedelta(microseconds=1))
    missed = len(rows)
    if following is not None and following <= now:
        times = [following, *islice(calendar.times(following), FIRES_AT_ONCE)]
        due = [at for at in times[:FIRES_AT_ONCE] if at <= now]
        rows += [(at, State.DUE, "", "") for at in due]
        following = times[len(due)] if len(times) > len(due) else None
    times_, states, codes, details = zip(*rows, strict=True) if rows else ((), (), (), ())
    parameters: dict[str, Any] = {
        "schedule": schedule.pk,
        "next_at": first,
        "version": schedule.version,
        "following": following,
        "times": list(times_),
        "states": list(map(str, states)),
        "codes": list(codes),
        "details": list(details),
        "first": missed + 1,
        "last": len(rows),
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.TAKE, parameters)


def _claimed(statement: str, limit: int) -> list[Due]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"lease": LEASE_SECONDS, "limit": limit})
        return sorted((Due(*row) for row in cursor.fetchall()), key=lambda due: due.scheduled_at)


def _submit(claimed: Sequence[Due]) -> int:
    by_schedule: dict[uuid.UUID, list[Due]] = defaultdict(list)
    for each in claimed:
        by_schedule[each.schedule_id].append(each)
    schedules = Schedule.objects.select_related("tenant", "pipeline").in_bulk(list(by_schedule))
    for schedule_id, fires in by_schedule.items():
        try:
            _submit_of(schedules[schedule_id], fires)
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("Fires of schedule %s could not be submitted", schedule_id)
    return len(claimed)


def _submit_of(schedule: Schedule, fires: Sequence[Due]) -> None:
    """Submit fires of one schedule, as an ordinary submission does, and record the results."""
    if schedule.overlap == Schedule.Overlap.CANCEL and not all(each.is_backfill for each in fires):
        _cancel_unfinished(schedule)
    zone = calendar_of(schedule).zone
    requests = [
        ExecutionRequest(
            schedule.pipeline.pipeline_id,
            expanded(schedule.template, at=each.scheduled_at, zone=zone, name=schedule.name),
            key_of(schedule.pk, each.scheduled_at),
            release_version=schedule.release_version or None,
        )
        for each in fires
    ]
    verdicts = submit_many(schedule.tenant, requests, actor=schedule.actor)
    results = [
        (each.id, *_result(verdict))
        for each, verdict in zip(fires, verdicts, strict=True)
        if not (each.is_backfill and isinstance(verdict, QuotaExceeded))  # it is tried again after its lease
    ]
    if results:
        ids, states, codes, details, executions = map(list, zip(*results, strict=True))
        parameters = {"ids": ids, "states": states, "codes": codes, "details": details, "executions": executions}
        with connection.cursor() as cursor:
            cursor.execute(statements.DECIDE, parameters)


def _result(verdict: Verdict) -> tuple[str, str, str, uuid.UUID | None]:
    """Return the state, the code, the detail and the execution that are recorded."""
    if isinstance(verdict, IdempotencyKeyReused):  # an earlier attempt submitted it, before the schedule was changed
        return State.SUBMITTED.value, "", "", uuid.UUID(verdict.data["executionId"])
    if isinstance(verdict, CoordinatorError):
        return State.REFUSED.value, verdict.code, verdict.detail[:1000], None
    return State.SUBMITTED.value, "", "", verdict.execution_id


def _cancel_unfinished(schedule: Schedule) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.UNFINISHED, {"schedule": schedule.pk})
        unfinished = [execution_id for (execution_id,) in cursor.fetchall()]
    for execution_id in unfinished:
        try:
            reason = "The next time of the schedule has come."
            interventions.cancel(schedule.tenant, execution_id, actor=schedule.actor, reason=reason)
        except (CancelRefused, ExecutionChanged, ExecutionUnknown) as refusal:
            log.info("Execution %s was not cancelled: %s", execution_id, refusal.detail)
