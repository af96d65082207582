"""Adds, changes, pauses and removes the schedules of a tenant. The caller has checked access to the tenant."""

import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from executions.errors import (
    InputInvalid,
    ReleaseNotAdmitted,
    ScheduleInvalid,
    ScheduleNameTaken,
    ScheduleUnknown,
    TooManySchedules,
)
from executions.models import Execution, Schedule, ScheduleFire
from executions.models.schedule import MOST_MINUTES
from executions.schedules import statements
from executions.schedules.calendar import RULE, Calendar, expanded, unknown_places
from executions.submission.admission import Admission
from foundation.database.postgresql.outage import refused_by
from foundation.errors import require_valid
from releases import queries
from releases.models import Pipeline, Release
from releases.states import Status
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.identity import RULE as NAME_RULE
from wire.identity import is_identifier

MOST_SCHEDULES: Final = 500
PREFIX: Final = "schedule:"
"""How the idempotency keys of schedules begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The members of a schedule that a person chooses. `input` is the template, `release_version` "" if none is named.

    `exceptions` are dates or ranges of dates, `catch_up_minutes` is how late a time may be submitted.
    """

    name: str
    cron: str
    input: Any
    time_zone: str = "UTC"
    exceptions: list[str] = field(default_factory=list)
    release_version: str = ""
    overlap: str = Schedule.Overlap.SKIP
    catch_up_minutes: int = 60
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.cron, self.time_zone, tuple(self.exceptions), self.starts_at, self.ends_at)


MEMBERS: Final = tuple(Settings.__dataclass_fields__)
_OF_CALENDAR: Final = {"cron", "time_zone", "exceptions", "starts_at", "ends_at"}


def kept(tenant: Tenant) -> QuerySet[Schedule]:
    """Return the schedules that were not removed."""
    return Schedule.objects.filter(tenant=tenant, removed_at=None).select_related("tenant", "pipeline")


def schedule_of(tenant: Tenant, schedule_id: uuid.UUID) -> Schedule:
    """Return a schedule that was not removed. Raises `ScheduleUnknown`."""
    schedule = kept(tenant).filter(pk=schedule_id).first()
    if schedule is None:
        raise ScheduleUnknown(f"There is no schedule {schedule_id}.")
    return schedule


def settings_of(schedule: Schedule) -> Settings:
    return Settings(**{**{name: getattr(schedule, name) for name in MEMBERS}, "input": schedule.template})


def calendar_of(schedule: Schedule) -> Calendar:
    return settings_of(schedule).calendar


def fires(schedule: Schedule) -> QuerySet[ScheduleFire]:
    """Return the times at which the schedule fired, or is about to, the latest first."""
    return schedule.fires.order_by("-scheduled_at", "-id")


def fire_of(execution: Execution) -> ScheduleFire | None:
    """Return the fire that submitted an execution, with its schedule. Reads nothing unless the key looks like one."""
    if not execution.execution_key.startswith(PREFIX):
        return None
    return ScheduleFire.objects.filter(execution=execution.pk).select_related("schedule").first()


def add(
    tenant: Tenant,
    pipeline_id: str,
    settings: Settings,
    *,
    actor: str,
    paused: bool = False,
    most: int = MOST_SCHEDULES,
) -> Schedule:
    """Add a schedule. Its first time is the next one from now on. A tenant has at most `most` schedules.

    Raises `PipelineUnknown`, `ReleaseUnknown`, `ScheduleInvalid`, `InputInvalid`, `ScheduleNameTaken` and
    `TooManySchedules`.
    """
    pipeline = queries.pipeline(tenant, pipeline_id)
    _require_valid(settings, pipeline)
    now = timezone.now()
    schedule = Schedule(tenant=tenant, pipeline=pipeline, created_by=actor, **_columns(settings))
    schedule.paused_at = now if paused else None
    schedule.next_at = None if paused else settings.calendar.next(now)
    with _named_once(settings.name), transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # the next call counts this schedule
        if kept(tenant).count() >= most:
            raise TooManySchedules(f"A tenant has at most {most} schedules.")
        schedule.save(force_insert=True)
        _record(Act.SCHEDULE_ADD, schedule, actor, pipelineId=pipeline.pipeline_id, cron=schedule.cron)
    return schedule_of(tenant, schedule.pk)


def change(schedule: Schedule, *, actor: str, **changes: Any) -> Schedule:
    """Change the named members, which are those of `Settings`. Other times begin with the next one from now on.

    Raises `ReleaseUnknown`, `ScheduleInvalid`, `InputInvalid`, `ScheduleNameTaken`, and `ScheduleUnknown` if the
    schedule was removed.
    """
    with _named_once(changes.get("name", schedule.name)), transaction.atomic():
        locked = lock(schedule)
        before = settings_of(locked)
        settings = Settings(**{**{name: getattr(before, name) for name in MEMBERS}, **changes})
        _require_valid(settings, queries.pipeline(locked.tenant, locked.pipeline.pipeline_id))
        changed = sorted(name for name in MEMBERS if getattr(settings, name) != getattr(before, name))
        columns = _columns(settings)
        values = {name: columns[name] for name in changed}
        if _OF_CALENDAR & values.keys() and locked.paused_at is None:
            values["next_at"] = settings.calendar.next(timezone.now())
        if values:
            Schedule.objects.filter(pk=locked.pk).update(**values, version=F("version") + 1)
            # The template may have payloads, so only the names of the members are recorded.
            _record(Act.SCHEDULE_CHANGE, locked, actor, changed=changed)
    return schedule_of(schedule.tenant, schedule.pk)


def pause(schedule: Schedule, *, actor: str, reason: str = "") -> Schedule:
    """Fire no more until the schedule is resumed. A paused schedule stays as it is. Raises `ScheduleUnknown`."""
    with transaction.atomic():
        locked = lock(schedule)
        if locked.paused_at is None:
            Schedule.objects.filter(pk=locked.pk).update(paused_at=Now(), next_at=None, version=F("version") + 1)
            _record(Act.SCHEDULE_PAUSE, locked, actor, reason=reason)
    return schedule_of(schedule.tenant, schedule.pk)


def resume(schedule: Schedule, *, actor: str, reason: str = "") -> Schedule:
    """Fire again, from the next time on: times during the pause are not made up. Raises `ScheduleUnknown`."""
    with transaction.atomic():
        locked = lock(schedule)
        if locked.paused_at is not None:
            following = calendar_of(locked).next(timezone.now())
            rows = Schedule.objects.filter(pk=locked.pk)
            rows.update(paused_at=None, next_at=following, version=F("version") + 1)
            _record(Act.SCHEDULE_RESUME, locked, actor, reason=reason)
    return schedule_of(schedule.tenant, schedule.pk)


def remove(schedule: Schedule, *, actor: str) -> Schedule:
    """Remove a schedule, and return it. What it has submitted stays, and times that are due are skipped.

    Raises `ScheduleUnknown`.
    """
    with transaction.atomic():
        locked = lock(schedule)
        rows = Schedule.objects.filter(pk=locked.pk)
        rows.update(removed_at=Now(), next_at=None, version=F("version") + 1)
        with connection.cursor() as cursor:
            cursor.execute(statements.END_FIRES, {"schedule": locked.pk})
        _record(Act.SCHEDULE_REMOVE, locked, actor)
    return schedule


def lock(schedule: Schedule) -> Schedule:
    """Lock and read the schedule again. Raises `ScheduleUnknown` if it was removed."""
    locked = kept(schedule.tenant).filter(pk=schedule.pk).select_for_update(of=("self",), no_key=True).first()
    if locked is None:
        raise ScheduleUnknown(f"There is no schedule {schedule.pk}.")
    return locked


def _columns(settings: Settings) -> dict[str, Any]:
    return {**{name: getattr(settings, name) for name in MEMBERS}, "input": [settings.input]}


def _require_valid(settings: Settings, pipeline: Pipeline) -> None:
    wrong = settings.calendar.problems()
    if not is_identifier(settings.name):
        wrong["name"] = NAME_RULE
    if not 1 <= settings.catch_up_minutes <= MOST_MINUTES:
        wrong["catchUpMinutes"] = f"must be from 1 to {MOST_MINUTES:,}"
    wrong |= dict.fromkeys(unknown_places(settings.input), RULE)
    require_valid(ScheduleInvalid, wrong)
    _require_fitting(settings, pipeline)


def _require_fitting(settings: Settings, pipeline: Pipeline) -> None:
    """Raise `InputInvalid` unless the input of the next time fits the release that would get it now, if there is one.

    A release that is activated later may have another contract. Raises `ReleaseUnknown` and `ReleaseNotAdmitted`.
    """
    if settings.release_version:
        release = queries.release(pipeline, settings.release_version)
        if release.status != Status.REGISTERED:
            raise ReleaseNotAdmitted(f"Release {release.release_version!r} is {release.status}.")
    elif (active := pipeline.active_release) is not None:
        release = active
    else:
        return
    calendar = settings.calendar
    at = calendar.next(timezone.now()) or timezone.now()
    require_fitting(Admission(release, None), settings.input, at, calendar, settings.name)


def _named_once(name: str) -> AbstractContextManager[None]:
    """Raise `ScheduleNameTaken` if the block writes a name that is taken."""
    return refused_by({"schedule_name_once"}, lambda: ScheduleNameTaken(f"The name {name!r} is taken."))


def _record(act: Act, schedule: Schedule, actor: str, *, reason: str = "", **details: Any) -> None:
    audit.record(act, tenant=schedule.tenant, actor=actor, object=schedule.name, reason=reason, **details)


def refusals(release: Release, now: datetime) -> dict[str, str]:
    """Return why an active `release` would refuse the inputs of schedules, by their names, in the order of names.

    Only schedules that submit to the active release are checked. A paused one is, too, because it may be resumed.
    """
    admission = Admission(release, None)
    changed = {}
    for schedule in _open(release).filter(release_version=""):
        calendar = Calendar(schedule.cron, schedule.time_zone, tuple(schedule.exceptions))
        try:
            require_fitting(admission, schedule.template, schedule.next_at or now, calendar, schedule.name)
        except InputInvalid as refusal:
            changed[schedule.name] = refusal.detail
        except LookupError:  # the system lost the time zone, so the schedule does not fire
            continue
    return changed


def submitting_to(release: Release, *, is_active: bool) -> list[str]:
    """Return the names of the schedules that submit to `release` by its name or, if it `is_active`, without a name."""
    versions = [release.release_version, *([""] if is_active else [])]
    return list(_open(release).filter(release_version__in=versions).values_list("name", flat=True))


def require_fitting(admission: Admission, template: object, at: datetime, calendar: Calendar, name: str) -> None:
    """Raise `InputInvalid` unless the admitted release takes the input of a schedule at this time."""
    admission.input_shape(expanded(template, at=at, zone=calendar.zone, name=name))


def _open(release: Release) -> QuerySet[Schedule]:
    """Return the schedules of the release's pipeline that fire, now or once they are resumed."""
    rows = Schedule.objects.filter(pipeline=release.pipeline_id, removed_at=None)
    return rows.exclude(Q(next_at=None) & Q(paused_at=None)).order_by("name")
