"""What another active release would mean for the schedules of a pipeline: which of them it would refuse."""

from datetime import datetime

from django.db.models import Q, QuerySet

from executions.errors import InputInvalid
from executions.models import Schedule
from executions.schedules.calendar import Calendar
from executions.schedules.template import expanded
from executions.submission.admission import Admission
from releases.models import Release


def refusals(release: Release, now: datetime) -> dict[str, str]:
    """Return why an active `release` would refuse the inputs of schedules, by their names, in the order of names.

    Only schedules that submit to the active release are checked. A paused one is, too, because it may be resumed.
    """
    admission = Admission(release, None)
    found = {}
    for schedule in _open(release).filter(release_version=""):
        calendar = Calendar(schedule.cron, schedule.time_zone, tuple(schedule.exceptions))
        try:
            require_fitting(admission, schedule.template, schedule.next_at or now, calendar, schedule.name)
        except InputInvalid as refusal:
            found[schedule.name] = refusal.detail
        except LookupError:  # the system lost the time zone, so the schedule does not fire
            continue
    return found


def naming(release: Release) -> list[str]:
    """Return the names of the schedules that submit to `release` alone, in their order."""
    return list(_open(release).filter(release_version=release.release_version).values_list("name", flat=True))


def require_fitting(admission: Admission, template: object, at: datetime, calendar: Calendar, name: str) -> None:
    """Raise `InputInvalid` unless the admitted release takes the input of a schedule at this time."""
    admission.input_shape(expanded(template, at=at, zone=calendar.zone, name=name))


def _open(release: Release) -> QuerySet[Schedule]:
    """Return the schedules of the release's pipeline that fire, now or once they are resumed."""
    rows = Schedule.objects.filter(pipeline=release.pipeline_id, removed_at=None)
    return rows.exclude(Q(next_at=None) & Q(paused_at=None)).order_by("name")
