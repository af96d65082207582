"""Failures: the list of their groups, and the page of one group with what can be done about it."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from executions.console.filters import STATE_VARIANTS, ReleaseFilter, SinceFilter
from executions.console.payloads import tenants_shown
from executions.failures import queries
from executions.failures.dead_letter_pages import ErrorCodeFilter
from executions.failures.queries import Figures
from executions.lifecycle.queries import traceback_of
from executions.models import FailureGroup, is_new, read_business_keys
from executions.models.records import LONGEST_ASSIGNEE, LONGEST_NOTE
from foundation.admin.columns import badge, class_name, column, rectangle, timed
from foundation.errors import CoordinatorError
from foundation.sentences import sentence
from releases.registration.pages import PipelineFilter
from releases.states import Status
from releases.step_names import Step
from tenancy import members
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import LongList, serves
from tenancy.console.lists import ScopedFilter, TenantFilter
from tenancy.console.template_tags import denial_of
from tenancy.roles import Scope

MOST_GROUPS = 10_000
"""How many groups the list counts."""
LETTERS_SHOWN = 20
PEOPLE_SHOWN = 200
NEW, ACKNOWLEDGED, MINE = "new", "acknowledged", "mine"
VARIANTS = {NEW: "danger", ACKNOWLEDGED: "default"}


class StateFilter(ScopedFilter):
    title = parameter_name = "state"
    options = ((NEW, "New"), (ACKNOWLEDGED, "Acknowledged"), (MINE, "Assigned to me"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[FailureGroup]) -> QuerySet[FailureGroup]:
        if self.value() == MINE:
            return queryset.filter(assignee=request.user.get_username())
        if self.value() == NEW:
            return queryset.filter(is_new())
        return queryset.exclude(is_new()) if self.value() == ACKNOWLEDGED else queryset


class LastSeenFilter(SinceFilter):
    title = "last failure"
    lookup = "last_seen_at"


class DecisionForm(forms.Form):
    """What a person decides about a group. A member that is not sent stays as it is."""

    acknowledged = forms.TypedChoiceField(
        choices=[("yes", "yes"), ("no", "no")], coerce=lambda text: text == "yes", empty_value=None, required=False
    )
    assignee = forms.CharField(max_length=LONGEST_ASSIGNEE, required=False)
    note = forms.CharField(max_length=LONGEST_NOTE, required=False)

    @property
    def decided(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name in self.data}


@admin.register(FailureGroup)
class FailureGroupAdmin(LongList):
    empty = "Failures that have the same cause are listed here together, with what can be done about them."
    list_display = ("error", "state", "on_release", "step", "tenant", "count", "by_hour", "newest", "owner")
    list_filter = (
        StateFilter,
        LastSeenFilter,
        PipelineFilter.at("release__pipeline__pipeline_id"),
        ReleaseFilter.at("release__release_version"),
        ErrorCodeFilter,
        TenantFilter,
    )
    ordering = ("-last_seen_at", "-id")
    list_per_page = 25
    change_list_template = "executions/failure_group_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[FailureGroup]:
        return queries.groups(super().get_queryset(request))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the numbers of all groups on the page together. Messages that may not be read are left out."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = rows = list(changelist.result_list)
        figures = queries.figures([row.pk for row in rows])
        readable = tenants_shown(request)
        for row in rows:
            row.figures = figures[row.pk]
            row.message = row.sample_message if row.tenant_id in readable else ""
        return changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        answer = super().changelist_view(request, {"most_groups": MOST_GROUPS, **(extra_context or {})})
        if isinstance(answer, TemplateResponse) and answer.context_data and "cl" in answer.context_data:
            counted = answer.context_data["cl"].queryset.order_by()[: MOST_GROUPS + 1].count()
            answer.context_data["counted"] = counted
        return answer

    @column("Error")
    def error(self, group: Any) -> SafeString:
        return format_html(
            '<span class="dc-cell dc-cell-wide"><span class="dc-mono">{}</span><span class="dc-clamp">{}</span></span>',
            class_name(group.error_code),
            group.message,
        )

    @badge("State", VARIANTS)
    def state(self, group: Any) -> str:
        return _state(group.is_new_by(group.figures.newest_at))

    @column("Release")
    def on_release(self, group: FailureGroup) -> SafeString:
        version, mark = group.release.release_version, mark_of(group)
        return format_html(
            '<span class="dc-cell"><span>{}</span><span>{}</span></span>',
            group.release.pipeline.pipeline_id,
            f"{version} ({mark})" if mark else version,
        )

    @column("Step")
    def step(self, group: FailureGroup) -> Step:
        return group.step

    @column("Still failed")
    def count(self, group: Any) -> SafeString:
        address = f"{executions_of(group)}&status=failed"
        return format_html('<a class="dc-link" href="{}">{}</a>', address, open_of_total(group.figures))

    @column("Last 24 hours")
    def by_hour(self, group: Any) -> SafeString:
        last_hour, more = group.figures.last_hour, group.figures.last_hour >= group.figures.most_in_hour
        note = f"{last_hour:,} {'or more ' if more else ''}in the last hour"
        return render_to_string("executions/trend.html", {"trend": _trend(group.figures), "note": note})

    @column("Newest failure")
    def newest(self, group: Any) -> SafeString:
        newest_at = group.figures.newest_at or group.last_seen_at
        first = timed(group.first_seen_at)
        return format_html('<span class="dc-cell">{}<span>first {}</span></span>', timed(newest_at), first)

    @column("Assignee", empty="-")
    def owner(self, group: FailureGroup) -> str | None:
        return group.assignee or None

    def show(self, request: HttpRequest, row: FailureGroup) -> HttpResponse:
        figures = queries.figures_of(row)
        new = row.is_new_by(figures.newest_at)
        letters = list(queries.letters(row)[:LETTERS_SHOWN])
        read_business_keys([letter.execution for letter in letters])
        may_operate, may_read = (
            self.has_scope(request, Scope.OPERATE, row),
            self.has_scope(request, Scope.PAYLOADS, row),
        )
        more: dict[str, Any] = {
            "title": f"{row.error_code} in {row.release.pipeline.pipeline_id}",
            "original": row,
            "group": row,
            "figures": figures,
            "open_of_total": open_of_total(figures),
            "trend": _trend(figures),
            "step": row.step,
            "mark": mark_of(row),
            "active": row.release.pipeline.active_release,
            "is_new": new,
            "state": _state(new),
            "state_variant": VARIANTS[_state(new)],
            "letters": [(letter, STATE_VARIANTS[letter.execution.shown_status]) for letter in letters],
            "may_read": may_read,
            "traceback": traceback_of(letters[0]) if letters and may_read else "",
            "may_operate": may_operate,
            "acts": self._acts(request, row, may_operate),
            "executions_url": executions_of(row),
            "people": _people(row, request.user.get_username()) if may_operate else [],
        }
        return self.page(request, "executions/failure_group.html", **more)

    @serves("<uuid:object_id>/decide/", Act.FAILURE_GROUP_CHANGE, Scope.OPERATE)
    def decide(self, request: HttpRequest, group: FailureGroup) -> HttpResponse:
        """Acknowledge, assign or annotate the group, and show its page again."""
        if request.method == "POST":
            form = DecisionForm(request.POST)
            try:
                if not form.is_valid():
                    messages.error(request, "A note has at most 1,000 characters. Nothing changed.")
                else:
                    queries.change(group.tenant, group.pk, actor=actor(request.user), **form.decided)
                    messages.success(request, "Saved.")
            except CoordinatorError as error:
                messages.error(request, f"{sentence(error.detail)} Nothing changed.")
        return redirect("admin:executions_failuregroup_change", group.pk)

    def _acts(self, request: HttpRequest, group: FailureGroup, may_operate: bool) -> list[dict[str, str]]:
        """Return the buttons of the page. An act that the user may not do is among them with the reason."""
        active, denial = group.release.pipeline.active_release, "" if may_operate else denial_of(Scope.OPERATE)
        retired = "The release is retired, so its executions cannot run again."
        redrive = denial or (retired if group.release.status == Status.RETIRED else "")
        buttons = [_button("Re-drive", "replay", _campaign(group), redrive)]
        if active != group.release:
            target = f"Resubmit on {active.release_version}" if active else "Resubmit"
            refusal = "" if active else "The pipeline has no active release."
            address = _campaign(group, kind="resubmit")
            buttons.insert(0, _button(target, "forward", address, denial or refusal, variant="primary"))
        else:
            may = self.has_scope(request, Scope.ROLL_BACK, group)
            address = reverse("admin:releases_pipeline_rollback", args=[group.release.pipeline_id])
            why_not = "" if may else denial_of(Scope.ROLL_BACK)
            # A resubmission would run on the same release: the recovery proposes another one.
            buttons.insert(0, _button("Roll back", "undo", address, why_not, variant="primary"))
        recovery = reverse("admin:releases_release_recovery", args=[group.release_id])
        buttons.append(_button("Guided recovery", "healing", recovery, ""))
        return buttons


def mark_of(group: FailureGroup) -> str:
    """Return "revoked", "retired" or "active" if the release of the group is that."""
    if group.release.status in (Status.REVOKED, Status.RETIRED):
        return group.release.status.lower()
    return "active" if group.release.pipeline.active_release == group.release else ""


def executions_of(group: FailureGroup) -> str:
    """Return the address of the list of the executions whose newest failure is in the group."""
    return f"{reverse('admin:executions_execution_changelist')}?{urlencode({'group': str(group.pk)})}"


def open_of_total(figures: Figures) -> str:
    """Say how many failures are still open, and of how many."""
    if figures.more:
        return f"{figures.still_open:,} of the newest {figures.counted:,}"
    return f"{figures.still_open:,} of {figures.counted:,}"


def _state(new: bool) -> str:
    return NEW if new else ACKNOWLEDGED


def _campaign(group: FailureGroup, **more: str) -> str:
    """Return the address of the page that starts a campaign for the failures of the group."""
    query = {"tenant": group.tenant.slug, "failure_group": str(group.pk), "allow_failed": "on", **more}
    return f"{reverse('admin:executions_campaign_start')}?{urlencode(query)}"


def _button(label: str, icon: str, address: str, why_not: str, variant: str = "default") -> dict[str, str]:
    return {"label": label, "icon": icon, "address": address, "why_not": why_not, "variant": variant}


def _people(group: FailureGroup, username: str) -> list[str]:
    """Return the user names to whom the group can be assigned, the user's own first."""
    names = members.names(group.tenant, Scope.OPERATE)[:PEOPLE_SHOWN]
    return list(dict.fromkeys([username, *filter(None, [group.assignee]), *names]))


BAR, GAP, HEIGHT = 4, 1, 24


def _trend(figures: Figures) -> dict[str, Any]:
    """Return the picture of the last 24 hours, its text, and the numbers as texts, the last hour first.

    An hour with `most_in_hour` may have had more.
    """

    def number(count: int) -> str:
        return f"{count:,} or more" if count >= figures.most_in_hour else f"{count:,}"

    counts = figures.trend
    highest = max(1, *counts)
    bars = ""
    for place, count in enumerate(counts):
        height = -(-count * HEIGHT // highest)
        bars += rectangle(place * (BAR + GAP), HEIGHT - height, BAR, height) if height else ""
    text = f"{number(figures.last_hour)} in the last hour, at most {number(highest)} in an hour"
    if not any(counts):
        text = f"none in the last {len(counts)} hours"
    width = len(counts) * (BAR + GAP) - GAP
    return {"bars": bars, "counts": [*map(number, reversed(counts))], "width": width, "height": HEIGHT, "text": text}
