"""REST: the schedules of a tenant, the times at which they fired, and backfills."""

import uuid
from datetime import datetime
from typing import Any, Final

from django.urls import path
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from executions.errors import (
    BackfillInvalid,
    InputInvalid,
    ReleaseNotAdmitted,
    ScheduleInvalid,
    ScheduleNameTaken,
    ScheduleUnknown,
    TooManySchedules,
)
from executions.models import Schedule, ScheduleFire
from executions.models.schedule import LONGEST_CRON, LONGEST_SCHEDULE, MOST_MINUTES
from executions.schedules import backfills, schedules
from executions.schedules.calendar import MOST_EXCEPTIONS
from foundation.api.fields import (
    Flag,
    Identifier,
    Moment,
    SegmentIdentifier,
    StrictSerializer,
    Text,
    WholeNumber,
)
from releases.errors import PipelineUnknown, ReleaseUnknown
from releases.models import IDENTITY_LENGTH
from tenancy.api.operations import TenantView, either, listing, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.roles import Scope

LONGEST_REASON: Final = 1000
_CRON = "Five fields: minute, hour, day of the month, month, day of the week."
_ZONE = "The time zone of the cron expression and of the exceptions, such as Europe/Berlin."
_EXCEPTIONS = "Dates such as 2026-12-24, or ranges such as 2026-12-24/2027-01-01, on which it does not fire."
_INPUT = "The input of the executions. `{{scheduledAt}}`, `{{scheduledDate}}` and `{{scheduleName}}` stand for values."
_RELEASE = "Submit to this release. By default, to the one that is active at that time."
_OVERLAP = "What happens at a time when the newest execution of the schedule has not ended."
_CATCH_UP = "How late a time may still fire, for example after an outage. In minutes."


def _members(*, may_miss: bool) -> dict[str, Any]:
    """Return the fields that both requests have. In a change each may be missing."""

    def required() -> dict[str, Any]:
        return {"required": not may_miss}

    def optional(default: Any) -> dict[str, Any]:
        return {"required": False} if may_miss else {"required": False, "default": default}

    return {
        "name": Identifier(max_length=LONGEST_SCHEDULE, **required()),
        "cron": Text(max_length=LONGEST_CRON, help_text=_CRON, **required()),
        "timeZone": Text(source="time_zone", max_length=60, help_text=_ZONE, **optional("UTC")),
        "exceptions": serializers.ListField(
            child=Text(max_length=21), max_length=MOST_EXCEPTIONS, help_text=_EXCEPTIONS, **optional(list)
        ),
        "input": serializers.JSONField(help_text=_INPUT, **required()),
        "releaseVersion": SegmentIdentifier(
            source="release_version", max_length=IDENTITY_LENGTH, allow_null=True, help_text=_RELEASE, **optional(None)
        ),
        "overlap": serializers.ChoiceField(
            choices=Schedule.Overlap.choices, help_text=_OVERLAP, **optional(Schedule.Overlap.SKIP.value)
        ),
        "catchUpMinutes": WholeNumber(
            source="catch_up_minutes", min_value=1, max_value=MOST_MINUTES, help_text=_CATCH_UP, **optional(60)
        ),
        "startsAt": Moment(
            source="starts_at", allow_null=True, help_text="It fires at this time or later.", **optional(None)
        ),
        "endsAt": Moment(source="ends_at", allow_null=True, help_text="It fires before this time.", **optional(None)),
    }


class ScheduleRequest(StrictSerializer):
    pipelineId = SegmentIdentifier(source="pipeline_id", max_length=IDENTITY_LENGTH)
    paused = Flag(required=False, default=False, help_text="Add it without letting it fire.")

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), **_members(may_miss=False)}


class ScheduleChange(StrictSerializer):
    """What is missing stays as it is."""

    def get_fields(self) -> dict[str, Any]:
        return _members(may_miss=True)


class ReasonRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class BackfillRequest(ReasonRequest):
    from_ = Moment(source="first", help_text="The start of the range, which is included.")
    to = Moment(source="end", help_text="The end of the range, which is not included. It is in the past.")
    preview = Flag(required=False, default=False, help_text="Count, and add nothing.")


class BackfillView(serializers.Serializer[Any]):
    times = serializers.IntegerField(help_text="The times of the range.")
    added = serializers.IntegerField(help_text="Those of them that were neither submitted nor due.")


class ScheduleView(serializers.Serializer[Schedule]):
    scheduleId = serializers.UUIDField(source="id")
    name = serializers.CharField()
    pipelineId = serializers.CharField(source="pipeline.pipeline_id")
    cron = serializers.CharField()
    timeZone = serializers.CharField(source="time_zone")
    exceptions = serializers.ListField(child=serializers.CharField())
    input = serializers.JSONField(source="template", help_text=_INPUT)
    releaseVersion = serializers.SerializerMethodField(help_text=_RELEASE)
    overlap = serializers.ChoiceField(choices=Schedule.Overlap.choices)
    catchUpMinutes = serializers.IntegerField(source="catch_up_minutes")
    startsAt = serializers.DateTimeField(source="starts_at", allow_null=True)
    endsAt = serializers.DateTimeField(source="ends_at", allow_null=True)
    pausedAt = serializers.DateTimeField(source="paused_at", allow_null=True)
    nextAt = serializers.DateTimeField(
        source="next_at", allow_null=True, help_text="Null while it is paused, and if no time is left."
    )
    createdBy = serializers.CharField(source="created_by")
    createdAt = serializers.DateTimeField(source="created_at")

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_releaseVersion(self, schedule: Schedule) -> str | None:  # noqa: N802 - the name of a member
        return schedule.release_version or None


class OneScheduleView(ScheduleView):
    upcoming = serializers.SerializerMethodField(help_text="The next times, at most five, also while it is paused.")

    @extend_schema_field(serializers.ListField(child=serializers.DateTimeField()))
    def get_upcoming(self, schedule: Schedule) -> list[str]:
        return [at.isoformat() for at in schedules.calendar_of(schedule).upcoming(timezone.now())]


class FireView(serializers.Serializer[ScheduleFire]):
    scheduledAt = serializers.DateTimeField(source="scheduled_at")
    state = serializers.ChoiceField(choices=ScheduleFire.State.choices)
    executionId = serializers.UUIDField(source="execution_id", allow_null=True, help_text="It may be removed.")
    backfill = serializers.BooleanField(source="is_backfill")
    code = serializers.CharField(help_text="Why it was skipped, missed or refused, or empty.")
    detail = serializers.CharField()
    decidedAt = serializers.DateTimeField(source="decided_at", allow_null=True)


class FireFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=ScheduleFire.State.choices)


class ScheduleFilter(filters.FilterSet):
    pipelineId = filters.CharFilter(field_name="pipeline__pipeline_id")
    name = filters.CharFilter(field_name="name")


@listing("schedules", Schedule, ScheduleView, ScheduleFilter, ordering=("-created_at", "-id"))
def all_schedules(view: TenantView) -> Any:
    """The schedules of the tenant, the newest first."""
    return schedules.kept(view.tenant)


@operation("schedules", "addSchedule", {201: OneScheduleView}, body=ScheduleRequest)
@declares(Act.SCHEDULE_ADD, Scope.OPERATE)
@refuses(
    PipelineUnknown,
    ReleaseUnknown,
    ReleaseNotAdmitted,
    ScheduleInvalid,
    InputInvalid,
    ScheduleNameTaken,
    TooManySchedules,
)
def add_schedule(view: TenantView, pipeline_id: str, paused: bool, **body: Any) -> Any:
    """Add a schedule. At each of its times it submits an execution, as a request to submit does."""
    view.require(Scope.SUBMIT)
    settings = schedules.Settings(**_named(body))
    return schedules.add(view.tenant, pipeline_id, settings, actor=view.actor, paused=paused)


@operation("schedules", "schedule", OneScheduleView, method="GET")
@refuses(ScheduleUnknown)
def one_schedule(view: TenantView, schedule_id: uuid.UUID) -> Any:
    """One schedule with its next times."""
    return schedules.schedule_of(view.tenant, schedule_id)


@operation("schedules", "changeSchedule", OneScheduleView, method="PATCH", body=ScheduleChange)
@declares(Act.SCHEDULE_CHANGE, Scope.OPERATE)
@refuses(ScheduleUnknown, ReleaseUnknown, ReleaseNotAdmitted, ScheduleInvalid, InputInvalid, ScheduleNameTaken)
def change_schedule(view: TenantView, schedule_id: uuid.UUID, **body: Any) -> Any:
    """Change a schedule. Its pipeline stays. Other times begin with the next one from now on."""
    view.require(Scope.SUBMIT)
    return schedules.change(schedules.schedule_of(view.tenant, schedule_id), actor=view.actor, **_named(body))


@operation("schedules", "pauseSchedule", OneScheduleView, body=ReasonRequest)
@declares(Act.SCHEDULE_PAUSE, Scope.OPERATE)
@refuses(ScheduleUnknown)
def pause_schedule(view: TenantView, schedule_id: uuid.UUID, reason: str) -> Any:
    """Let a schedule fire no more until it is resumed. The body is optional."""
    return schedules.pause(schedules.schedule_of(view.tenant, schedule_id), actor=view.actor, reason=reason)


@operation("schedules", "resumeSchedule", OneScheduleView, body=ReasonRequest)
@declares(Act.SCHEDULE_RESUME, Scope.OPERATE)
@refuses(ScheduleUnknown)
def resume_schedule(view: TenantView, schedule_id: uuid.UUID, reason: str) -> Any:
    """Let a schedule fire again, from its next time on. The body is optional."""
    return schedules.resume(schedules.schedule_of(view.tenant, schedule_id), actor=view.actor, reason=reason)


@operation("schedules", "removeSchedule", ScheduleView)
@declares(Act.SCHEDULE_REMOVE, Scope.OPERATE)
@refuses(ScheduleUnknown)
def remove_schedule(view: TenantView, schedule_id: uuid.UUID) -> Any:
    """Remove a schedule. The executions that it submitted stay."""
    return schedules.remove(schedules.schedule_of(view.tenant, schedule_id), actor=view.actor)


@operation("schedules", "backfillSchedule", {202: BackfillView}, body=BackfillRequest)
@declares(Act.SCHEDULE_BACKFILL, Scope.OPERATE)
@refuses(ScheduleUnknown, BackfillInvalid)
def backfill_schedule(
    view: TenantView, schedule_id: uuid.UUID, first: datetime, end: datetime, **body: Any
) -> backfills.Backfill:
    """Let a schedule fire for each time of a past range, at most 1,000. Times that were submitted are not repeated."""
    view.require(Scope.SUBMIT)
    schedule = schedules.schedule_of(view.tenant, schedule_id)
    return backfills.backfill(schedule, first, end, actor=view.actor, **body)


@listing("schedules", ScheduleFire, FireView, FireFilter, ordering=("-scheduled_at", "-id"))
@refuses(ScheduleUnknown)
def schedule_fires(view: TenantView, schedule_id: uuid.UUID) -> Any:
    """The times at which a schedule fired, the latest first, each with its outcome."""
    return schedules.fires(schedules.schedule_of(view.tenant, schedule_id))


def _named(body: dict[str, Any]) -> dict[str, Any]:
    """Return the members with "" for no release."""
    return {**body, "release_version": body["release_version"] or ""} if "release_version" in body else body


urlpatterns = [
    path("schedules", either(all_schedules, add_schedule), name="schedules"),
    path("schedules/<uuid:schedule_id>", either(one_schedule, change_schedule), name="schedule"),
    path("schedules/<uuid:schedule_id>/pause", pause_schedule, name="schedule-pause"),
    path("schedules/<uuid:schedule_id>/resume", resume_schedule, name="schedule-resume"),
    path("schedules/<uuid:schedule_id>/remove", remove_schedule, name="schedule-remove"),
    path("schedules/<uuid:schedule_id>/backfill", backfill_schedule, name="schedule-backfill"),
    path("schedules/<uuid:schedule_id>/fires", schedule_fires, name="schedule-fires"),
]
