"""Fires schedules: adds a fire for each time that has come, and submits it. Each time fires exactly once.

One statement moves a schedule to its following time and adds the fires, so two processes never add the same one. A
fire is then submitted with an idempotency key that names its schedule and its time. If a process dies in between,
another one submits the fire again when its lease has expired, and gets the same execution.
"""

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from django.db import Error, connection

from executions.errors import CancelRefused, ExecutionChanged, ExecutionUnknown, IdempotencyKeyReused
from executions.lifecycle import interventions
from executions.models import Execution, Schedule, ScheduleFire
from executions.schedules import statements
from executions.schedules.calendar import expanded, text_of
from executions.schedules.schedules import PREFIX, calendar_of
from executions.submission.submission import ExecutionRequest, Submission, Verdict, submit_many
from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError, QuotaExceeded
from foundation.plurals import counted

log = logging.getLogger(__name__)
AT_ONCE: Final = 100
"""How many schedules are moved at once, how many times of one are added, and how many fires are leased.

The leased ones are few enough to be submitted long before their lease expires.
"""
BACKFILLS_AT_ONCE: Final = 20
"""How many fires of a backfill are submitted at each sweep."""
LEASE_SECONDS: Final = 30
LONGEST_RUN_SECONDS: Final = 10.0
"""The time after which `fire` leaves the rest to the next sweep."""
_START: Final = (datetime.max.replace(tzinfo=UTC), uuid.UUID(int=0))
Place = tuple[datetime, uuid.UUID]
"""A place in the order of due schedules: the next time and the key of one."""
_place: Place = _START
State = ScheduleFire.State


@dataclass(frozen=True, slots=True)
class Due:
    """A fire that this process has leased."""

    id: int
    schedule_id: uuid.UUID
    scheduled_at: datetime
    is_backfill: bool


def fire(at_once: int = AT_ONCE, seconds: float = LONGEST_RUN_SECONDS) -> int:
    """Fire the due schedules, and submit DUE fires, for about `seconds` at most. Return how many were decided.

    If the time is too short for all schedules, the next call in this process continues with the others. Any number of
    processes may call this at once. If a schedule fails, the error is logged, and the others still fire.
    """
    global _place
    ends_at = time.monotonic() + seconds
    place: Place | None = _place
    decided, more = 0, 1
    while place is not None or more:
        place = advance(place, at_once) if place is not None else None
        more = _submit(_claimed(statements.CLAIM, at_once))
        decided += more
        if time.monotonic() >= ends_at:
            break
    _place = place or _START
    return decided + submit_backfills()


def advance(after: Place = _START, at_once: int = AT_ONCE) -> Place | None:
    """Move due schedules to their following times, and add fires for the times before. They are those behind `after`.

    The ones that are least late come first. Returns the place of the last one; None if no others are due.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.DUE_SCHEDULES, {"next_at": after[0], "id": after[1], "limit": at_once})
        due = cursor.fetchall()
    schedules = Schedule.objects.in_bulk([schedule_id for schedule_id, _, _ in due])
    for schedule_id, _, now in due:
        try:
            _take(schedules[schedule_id], now)
        except (Error, CoordinatorError, ValueError, LookupError, OverflowError) as error:
            if isinstance(error, Error) and is_outage(error):
                raise
            log.exception("Schedule %s could not fire", schedule_id)
    return (due[-1][1], due[-1][0]) if len(due) == at_once else None


def submit_backfills() -> int:
    """Lease DUE fires of backfills, submit them, and record the results. Return how many were decided."""
    return _submit(_claimed(statements.CLAIM_BACKFILLS, BACKFILLS_AT_ONCE))


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
        before, late = text_of(earliest.replace(microsecond=0)), counted(schedule.catch_up_minutes, "minute")
        detail = f"Each time before {before} was more than {late} late."
        rows.append((first, State.MISSED, "TOO_LATE", detail))
        following = calendar.next(earliest - timedelta(microseconds=1))
    missed = len(rows)
    if following is not None and following <= now:
        times = [following, *islice(calendar.times(following), AT_ONCE)]
        due = [at for at in times[:AT_ONCE] if at <= now]
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
        "last": len(rows) + (following is not None and following <= now),  # a later one is added next
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.TAKE, parameters)


def _claimed(statement: str, limit: int) -> list[Due]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"lease": LEASE_SECONDS, "limit": limit, "most": AT_ONCE})
        return sorted((Due(*row) for row in cursor.fetchall()), key=lambda due: due.scheduled_at)


def _submit(claimed: Sequence[Due]) -> int:
    by_schedule: dict[uuid.UUID, list[Due]] = defaultdict(list)
    for fire in claimed:
        by_schedule[fire.schedule_id].append(fire)
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
    if schedule.overlap == Schedule.Overlap.CANCEL and not all(fire.is_backfill for fire in fires):
        _cancel_earlier(schedule, min(fire.scheduled_at for fire in fires if not fire.is_backfill))
    zone = calendar_of(schedule).zone
    requests = [
        ExecutionRequest(
            schedule.pipeline.pipeline_id,
            expanded(schedule.template, at=fire.scheduled_at, zone=zone, name=schedule.name),
            key_of(schedule.pk, fire.scheduled_at),
            release_version=schedule.release_version or None,
        )
        for fire in fires
    ]
    verdicts = submit_many(schedule.tenant, requests, actor=schedule.actor)
    results = [
        (fire.id, *_result(schedule, verdict))
        for fire, verdict in zip(fires, verdicts, strict=True)
        if not (fire.is_backfill and isinstance(verdict, QuotaExceeded))  # it is tried again after its lease
    ]
    if results:
        ids, states, codes, details, executions = map(list, zip(*results, strict=True))
        parameters = {"ids": ids, "states": states, "codes": codes, "details": details, "executions": executions}
        with connection.cursor() as cursor:
            cursor.execute(statements.DECIDE, parameters)


def _result(schedule: Schedule, verdict: Verdict) -> tuple[str, str, str, uuid.UUID | None]:
    """Return the state, the code, the detail and the execution that are recorded.

    A client may have used the key of the time for another execution. That is not the schedule's.
    """
    if isinstance(verdict, IdempotencyKeyReused):  # an earlier attempt submitted it, before the schedule was changed
        first = Execution.objects.filter(tenant=schedule.tenant, submitted_by__startswith=PREFIX)
        if execution_id := first.filter(pk=verdict.data["executionId"]).values_list("pk", flat=True).first():
            return State.SUBMITTED.value, "", "", execution_id
    elif isinstance(verdict, Submission) and verdict.duplicate and not verdict.submitted_by.startswith(PREFIX):
        verdict = IdempotencyKeyReused(f"The key {verdict.idempotency_key!r} belongs to another execution.")
    if isinstance(verdict, CoordinatorError):
        return State.REFUSED.value, verdict.code, verdict.detail[:1000], None
    return State.SUBMITTED.value, "", "", verdict.execution_id


def _cancel_earlier(schedule: Schedule, before: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.EARLIER, {"schedule": schedule.pk, "before": before})
        unfinished = [execution_id for (execution_id,) in cursor.fetchall()]
    for execution_id in unfinished:
        try:
            reason = "The next time of the schedule has come."
            interventions.cancel(schedule.tenant, execution_id, actor=schedule.actor, reason=reason)
        except (CancelRefused, ExecutionChanged, ExecutionUnknown) as refusal:
            log.info("Execution %s was not cancelled: %s", execution_id, refusal.detail)
