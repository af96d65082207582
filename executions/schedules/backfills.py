"""Backfills: a person lets a schedule fire for the times of a past range. The clock works them off."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from executions.errors import BackfillInvalid
from executions.models import Schedule
from executions.schedules import schedules, statements
from executions.schedules.calendar import Calendar
from executions.schedules.statements import FIRE_TASK
from foundation import wakeup
from tenancy import audit
from tenancy.audit.acts import Act

MOST_TIMES: Final = 1000
"""How many times a backfill has at most."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill has requested: how many times are in its range, and how many of them were not submitted yet."""

    times: int
    added: int


def backfill(
    schedule: Schedule, first: datetime, end: datetime, *, actor: str, reason: str = "", preview: bool = False
) -> Backfill:
    """Let the schedule fire for each time from `first` until before `end`, by its present cron expression and template.

    A time that was submitted is not repeated, so an equal request adds nothing. The start and the end of the schedule
    do not limit the range. The clock submits the times, the oldest first: one after the other unless executions of the
    schedule may overlap. With `preview`, nothing is added: `added` is the number that would be.

    Raises `BackfillInvalid` and `ScheduleUnknown`.
    """
    if not EARLIEST <= first < end <= timezone.now():
        raise BackfillInvalid("The range must end after its start, and must be in the past, but not before 1970.")
    calendar = Calendar(schedule.cron, schedule.time_zone, tuple(schedule.exceptions), ends_at=end)
    times = list(islice(calendar.times(first - timedelta(microseconds=1)), MOST_TIMES + 1))
    if not times:
        raise BackfillInvalid("The schedule has no time in this range.")
    if len(times) > MOST_TIMES:
        raise BackfillInvalid(f"The range has more than {MOST_TIMES:,} times. Choose a shorter one.")
    if preview:
        done = schedule.fires.filter(scheduled_at__in=times, state__in=["SUBMITTED", "DUE"]).count()
        return Backfill(len(times), len(times) - done)
    with transaction.atomic():
        locked = schedules.lock(schedule)
        with connection.cursor() as cursor:
            cursor.execute(statements.BACKFILL, {"schedule": locked.pk, "times": times})
            added = cursor.rowcount
        wakeup.send_once(FIRE_TASK)
        details = {"from": first.isoformat(), "to": end.isoformat(), "times": added}
        audit.record(
            Act.SCHEDULE_BACKFILL, tenant=locked.tenant, actor=actor, object=locked.name, reason=reason, **details
        )
    return Backfill(len(times), added)
