"""The pages of schedules: the list, one schedule with its history, and the forms that change and backfill it."""

import json
from datetime import datetime
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from executions.console.confirmation import LONGEST_REASON, Confirmation, OperatorRequest, confirmed
from executions.console.payloads import typed_value
from executions.models import Schedule, ScheduleFire
from executions.models.schedule import LONGEST_CRON, LONGEST_SCHEDULE, MOST_MINUTES
from executions.schedules import backfills, schedules
from executions.schedules.calendar import Calendar
from foundation.admin.columns import MomentField, badge, column, timed
from foundation.errors import CoordinatorError
from foundation.plurals import counted
from releases.models import IDENTITY_LENGTH
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import problem_of, serves
from tenancy.console.configuration import ConfigurationAdmin
from tenancy.console.lists import text, time
from tenancy.models import Tenant
from tenancy.preferences import zones
from tenancy.roles import Scope

FIRES_SHOWN: Final = 25
VARIANTS: Final = {
    "DUE": "info",
    "SUBMITTED": "success",
    "SKIPPED": "default",
    "MISSED": "warning",
    "REFUSED": "danger",
}
STATES: Final = {"active": "success", "paused": "warning", "ended": "default"}
MONO: Final = {"rows": 5, "spellcheck": "false", "class": "dc-draft"}


def state_of(schedule: Schedule) -> str:
    if schedule.paused_at is not None:
        return "paused"
    return "active" if schedule.next_at is not None else "ended"


def in_words(times: list[datetime]) -> list[str]:
    """Return local times for people, such as `Thu 24 Dec 2026, 02:30 CET`."""
    return [f"{at:%a %d %b %Y, %H:%M %Z}" for at in times]


class ScheduleForm(forms.Form):
    """A new schedule, or the changes of one. The tenant and the pipeline are chosen once."""

    tenant = forms.ModelChoiceField(Tenant.objects.none(), empty_label=None, widget=UnfoldAdminSelectWidget)
    pipeline = forms.CharField(
        max_length=IDENTITY_LENGTH, widget=UnfoldAdminTextInputWidget, help_text="The id of the pipeline."
    )
    name = forms.CharField(max_length=LONGEST_SCHEDULE, widget=UnfoldAdminTextInputWidget)
    cron = forms.CharField(
        max_length=LONGEST_CRON,
        label="Cron expression",
        widget=UnfoldAdminTextInputWidget(attrs={"spellcheck": "false", "class": "dc-draft"}),
        help_text="Minute, hour, day of the month, month, day of the week. For example 30 2 * * MON-FRI.",
    )
    time_zone = forms.ChoiceField(initial="UTC", widget=UnfoldAdminSelectWidget)
    exceptions = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={**MONO, "rows": 3}),
        help_text="Dates on which it does not fire, one a line: 2026-12-24, or 2026-12-24/2027-01-01 for a range.",
    )
    input = forms.CharField(
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs=MONO),
        help_text='JSON. The texts "{{scheduledAt}}", "{{scheduledDate}}" and "{{scheduleName}}" stand for values.',
    )
    overlap = forms.ChoiceField(
        choices=Schedule.Overlap.choices,
        widget=UnfoldAdminSelectWidget,
        help_text="What happens if the newest execution of the schedule has not ended.",
    )
    catch_up_minutes = forms.IntegerField(
        min_value=1,
        max_value=MOST_MINUTES,
        initial=60,
        label="Catch up, in minutes",
        widget=UnfoldAdminTextInputWidget,
        help_text="How late a time may still fire, for example after an outage.",
    )
    release_version = forms.CharField(
        required=False,
        max_length=IDENTITY_LENGTH,
        label="Release",
        widget=UnfoldAdminTextInputWidget,
        help_text="Empty for the release that is active at that time.",
    )
    starts_at = MomentField(required=False, widget=UnfoldAdminTextInputWidget, help_text="Such as 2026-12-24 14:00.")
    ends_at = MomentField(required=False, widget=UnfoldAdminTextInputWidget, help_text="Not included.")

    def __init__(self, request: HttpRequest, tenants: QuerySet[Tenant], schedule: Schedule | None = None) -> None:
        values: dict[str, Any] = {}
        if schedule is not None:
            values = {name: getattr(schedule, name) for name in schedules.MEMBERS}
            values["input"] = json.dumps(schedule.template, indent=2, ensure_ascii=False)
            values["exceptions"] = "\n".join(schedule.exceptions)
        super().__init__(request.POST if request.method == "POST" else None, initial=values)
        zone, tenant = self.fields["time_zone"], self.fields["tenant"]
        assert isinstance(zone, forms.ChoiceField)  # noqa: S101 - declared above
        assert isinstance(tenant, forms.ModelChoiceField)  # noqa: S101 - declared above
        known = zones() if schedule is None or schedule.time_zone in zones() else (schedule.time_zone, *zones())
        zone.choices = [(name, name) for name in known]
        tenant.queryset = tenants
        self._schedule = schedule
        if schedule is not None:
            del self.fields["tenant"], self.fields["pipeline"]

    def save(self, by: str) -> Schedule:
        cleaned = dict(self.cleaned_data)
        tenant, pipeline = cleaned.pop("tenant", None), cleaned.pop("pipeline", "")
        cleaned["exceptions"] = cleaned["exceptions"].split()
        cleaned["input"] = typed_value(cleaned["input"], field="input")
        if self._schedule is not None:
            return schedules.change(self._schedule, actor=by, **cleaned)
        return schedules.add(tenant, pipeline, schedules.Settings(**cleaned), actor=by)

    @property
    def preview(self) -> dict[str, Any] | None:
        """The cron expression in words with the next five times, or what is wrong; None for an empty form."""
        source: Any = getattr(self, "cleaned_data", None) or self.initial
        if not source.get("cron") or "time_zone" not in source:
            return None
        dates = source.get("exceptions", "").split()
        calendar = Calendar(source["cron"], source["time_zone"], dates, source.get("starts_at"), source.get("ends_at"))
        if wrong := calendar.problems():
            return {"wrong": "; ".join(f"{name} {rule}" for name, rule in wrong.items())}
        return {"words": calendar.words, "times": in_words(calendar.upcoming(timezone.now()))}


class BackfillForm(forms.Form):
    """The range of a backfill, in the time zone of the user unless the times have offsets."""

    first = MomentField(
        label="From", widget=UnfoldAdminTextInputWidget, help_text="Included, such as 2026-12-01 00:00."
    )
    end = MomentField(label="To", widget=UnfoldAdminTextInputWidget, help_text="Not included. It must be in the past.")
    reason = forms.CharField(
        required=False, max_length=LONGEST_REASON, widget=UnfoldAdminTextInputWidget, help_text="Optional."
    )


def _page_of(schedule: Schedule) -> str:
    return reverse("admin:executions_schedule_change", args=[schedule.pk])


def _facts(schedule: Schedule) -> list[tuple[str, Any]]:
    following = timed(schedule.next_at) or ("none while it is paused" if schedule.paused_at else "none")
    return [("Pipeline", schedule.pipeline.pipeline_id), ("Cron expression", schedule.cron), ("Next time", following)]


def _pause_confirmation(schedule: Schedule) -> Confirmation:
    lead = "It does not fire until it is resumed. Times during the pause are not made up. Executions continue."
    return _confirmation(schedule, "Pause", "pause_circle", lead, "It is paused." if schedule.paused_at else "")


def _pause(schedule: Schedule, requested: OperatorRequest) -> str:
    schedules.pause(schedule, actor=requested.actor, reason=requested.reason)
    return "The schedule is paused."


def _resume_confirmation(schedule: Schedule) -> Confirmation:
    lead = (
        "It fires again from its next time on. Times during the pause are not made up, but a backfill can submit them."
    )
    return _confirmation(schedule, "Resume", "play_circle", lead, "" if schedule.paused_at else "It is not paused.")


def _resume(schedule: Schedule, requested: OperatorRequest) -> str:
    schedules.resume(schedule, actor=requested.actor, reason=requested.reason)
    return "The schedule is resumed."


def _confirmation(schedule: Schedule, button: str, icon: str, lead: str, refusal: str) -> Confirmation:
    facts, back = _facts(schedule), _page_of(schedule)
    title = f"{button} schedule {schedule}"
    return Confirmation(title=title, lead=lead, button=button, icon=icon, back=back, facts=facts, refusal=refusal)


@admin.register(Schedule)
class ScheduleAdmin(ConfigurationAdmin):
    empty = "Schedules submit executions at the times of a cron expression."
    list_display = ("name", "tenant", "of", "cron", "zone", "state", "following", "result")
    list_select_related = ("tenant", "pipeline")
    form_type = ScheduleForm
    form_template = "executions/schedule_form.html"
    discard = staticmethod(schedules.remove)
    changes: ClassVar[Scope] = Scope.OPERATE
    icon = "event_repeat"
    noun = "schedule"
    lead = "It submits an execution at each of its times, as a client does. The release that is active then gets it."
    removed = "{name} is removed. Its executions stay."
    consequence = "It submits no more executions, and cannot be restored. Its executions stay."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        newest = ScheduleFire.objects.filter(schedule=OuterRef("pk")).order_by("-scheduled_at")
        rows: QuerySet[Schedule] = super().get_queryset(request).select_related("tenant", "pipeline")
        return rows.annotate(newest_state=Subquery(newest.values("state")[:1]))

    of = text("Pipeline", "pipeline.pipeline_id")
    zone = text("Time zone", "time_zone")
    following = time("Next time", "next_at", empty="-")

    @badge("State", STATES)
    def state(self, schedule: Schedule) -> str:
        return state_of(schedule)

    @column("Newest result", empty="-")
    def result(self, schedule: Any) -> str | None:
        return schedule.newest_state.lower() if schedule.newest_state else None

    new = serves("new/", Act.SCHEDULE_ADD, Scope.OPERATE, Scope.SUBMIT)(ConfigurationAdmin.new)
    edit = serves("<uuid:object_id>/edit/", Act.SCHEDULE_CHANGE, Scope.OPERATE, Scope.SUBMIT)(ConfigurationAdmin.edit)
    remove = serves("<uuid:object_id>/remove/", Act.SCHEDULE_REMOVE, Scope.OPERATE)(ConfigurationAdmin.remove)
    pause = confirmed("<uuid:object_id>/pause/", Act.SCHEDULE_PAUSE, Scope.OPERATE, _pause_confirmation, _pause)
    resume = confirmed("<uuid:object_id>/resume/", Act.SCHEDULE_RESUME, Scope.OPERATE, _resume_confirmation, _resume)

    def show(self, request: HttpRequest, row: Schedule) -> HttpResponse:
        calendar = schedules.calendar_of(row)
        state = state_of(row)
        newest = list(schedules.fires(row)[: FIRES_SHOWN + 1])
        return self.page(
            request,
            "executions/schedule.html",
            title=row.name,
            original=row,
            schedule=row,
            state=state,
            variant=STATES[state],
            words=calendar.words,
            upcoming=in_words(calendar.upcoming(timezone.now())),
            template_text=json.dumps(row.template, indent=2, ensure_ascii=False),
            fires=[(fire, VARIANTS[fire.state]) for fire in newest[:FIRES_SHOWN]],
            more=len(newest) > FIRES_SHOWN,
            waiting=row.fires.filter(state=ScheduleFire.State.DUE, is_backfill=True).count(),
            may_change=self.has_scope(request, Scope.OPERATE, row) and self.has_scope(request, Scope.SUBMIT, row),
            may_operate=self.has_scope(request, Scope.OPERATE, row),
        )

    @serves("<uuid:object_id>/backfill/", Act.SCHEDULE_BACKFILL, Scope.OPERATE, Scope.SUBMIT)
    def backfill(self, request: HttpRequest, schedule: Schedule) -> HttpResponse:
        """Show how many times a range has, and let the schedule fire for them."""
        form = BackfillForm(request.POST if request.method == "POST" else None)
        preview, error = None, None
        if form.is_valid():
            members = {**form.cleaned_data, "actor": actor(request.user), "preview": "preview" in request.POST}
            try:
                made = backfills.backfill(schedule, **members)
            except CoordinatorError as rejected:
                error = rejected
            else:
                if not members["preview"]:
                    messages.success(request, f"The oldest first, this submits {counted(made.added, 'time')}.")
                    return self.to_page(schedule)
                preview = made
        return self.page(
            request,
            "executions/schedule_backfill.html",
            status=error.status if error else 400 if form.errors else 200,
            title=f"Backfill {schedule}",
            original=schedule,
            schedule=schedule,
            form=form,
            preview=preview,
            most=backfills.MOST_TIMES,
            problem=problem_of(error),
        )
