"""Campaigns: the list, the page of one with its progress, and the operators' requests to control it."""

import uuid
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.text import Truncator

from executions.console.confirmation import Confirmation, OperatorRequest, confirmed
from executions.console.filters import STATE_VARIANTS
from executions.failures.queries import REASONS
from executions.models import Campaign, CampaignItem, read_business_keys
from executions.questions.readable import readable_name
from foundation.admin.columns import badge, column, moment, on_one_line
from governance.campaigns import campaigns, draft_pages, resubmitting, selection_pages
from governance.campaigns.admitting import Results, results, results_of
from governance.campaigns.campaigns import Progress
from releases.models import Release
from tenancy.access import tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import ReadOnlyAdmin, View, serves
from tenancy.console.lists import KeyFilter, ScopedFilter, TenantFilter, time
from tenancy.roles import Scope

Status = Campaign.Status
ItemResult = CampaignItem.Result
VARIANTS = {
    Status.DRAFTING.value: "info",
    Status.DRAFT.value: "info",
    Status.RUNNING.value: "primary",
    Status.PAUSED.value: "warning",
    Status.COMPLETED.value: "success",
    Status.CANCELLED.value: "default",
}
RESULT_VARIANTS = {
    ItemResult.PENDING.value: "default",
    ItemResult.REDRIVEN.value: "info",
    ItemResult.RESUBMITTED.value: "info",
    ItemResult.CANCELLED.value: "success",
    ItemResult.PAUSED.value: "success",
    ItemResult.SKIPPED.value: "warning",
}
FAILED_AGAIN = "FAILED_AGAIN"
"""The items that ran again and have failed again. It is a choice in addition to the results."""
DONE = {
    Campaign.Kind.REDRIVE: ("re-driven", ItemResult.REDRIVEN),
    Campaign.Kind.RESUBMIT: ("resubmitted", ItemResult.RESUBMITTED),
    Campaign.Kind.CANCEL: ("cancelled", ItemResult.CANCELLED),
    Campaign.Kind.PAUSE: ("paused", ItemResult.PAUSED),
}
"""What a campaign of each kind has done, and the result of its items."""
REMOVED = "REMOVED"
ITEMS_SHOWN = 25
FILTERS_SHOWN = 60
LARGE = 10_000
"""The page of a campaign with more items is updated less often, because it counts their results."""
EVENTS_SHOWN = 50
LIVE = (Status.RUNNING, Status.PAUSED)


Control = Callable[..., Campaign]


def _controlled(name: str, act: Act, confirmation_for: Callable[[Campaign], Confirmation], control: Control) -> View:
    def carry_out(campaign: Campaign, requested: OperatorRequest) -> str:
        changed = control(campaign.tenant, campaign.pk, actor=requested.actor, reason=requested.reason)
        return f"The campaign is {changed.status}."

    return confirmed(f"<uuid:object_id>/{name}/", act, Scope.OPERATE, confirmation_for, carry_out)


def _confirmation(campaign: Campaign, sources: tuple[Status, ...], **members: Any) -> Confirmation:
    progress = campaigns.progress_of(campaign.pk)
    return Confirmation(
        back=reverse("admin:executions_campaign_change", args=[campaign.pk]),
        facts=[
            ("Campaign", campaign.pk),
            ("Tenant", campaign.tenant.slug),
            ("Status", campaign.status),
            ("Pending", f"{progress.pending:,} of {progress.total:,}"),
            ("Reason of its start", campaign.reason),
        ],
        refusal="" if campaign.status in sources else f"It is {campaign.status}.",
        **members,
    )


def _pause_confirmation(campaign: Campaign) -> Confirmation:
    lead = "It does nothing more until it is resumed or cancelled. What it has done is not undone."
    return _confirmation(campaign, (Status.RUNNING,), title="Pause a campaign", lead=lead, button="Pause", icon="pause")


def _resume_confirmation(campaign: Campaign) -> Confirmation:
    lead = f"It continues at {campaign.rate_per_minute:,} a minute. The pause does not increase the rate."
    if campaign.cause:
        lead += " You accept the executions that have failed again: they no longer count."
    return _confirmation(
        campaign, (Status.PAUSED,), title="Resume a campaign", lead=lead, button="Resume", icon="play_arrow"
    )


def _cancel_confirmation(campaign: Campaign) -> Confirmation:
    lead = "Pending executions are skipped permanently. What it has done is not undone."
    return _confirmation(
        campaign,
        LIVE,
        title="Cancel a campaign",
        lead=lead,
        button="Cancel the campaign",
        icon="cancel",
        danger=True,
    )


def conditions(filters: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the label and value of each filter of a campaign, and the address of the failure group if it is that."""
    for name, value in filters.items():
        if name == "failureGroup":
            yield "Failure group", value, reverse("admin:executions_failuregroup_change", args=[value])
        elif name == "reason":
            yield "Cause", REASONS.get(value, value), ""
        else:
            yield readable_name(name), value, ""


class StatusFilter(ScopedFilter):
    title = parameter_name = "status"
    options = tuple((status.value, status.value) for status in Status)


class WaitingReleaseFilter(KeyFilter):
    """Filters by the key of a release. The campaign has yet to re-drive an execution of it."""

    title = parameter_name = "release"

    def of_key(self, queryset: QuerySet[Campaign], key: int) -> QuerySet[Campaign]:
        release = Release.objects.select_related("pipeline").filter(pk=key).first()
        if release is None:
            return queryset.none()
        return campaigns.waiting_for(queryset, release.pipeline.pipeline_id, release.release_version)


@admin.register(Campaign)
class CampaignAdmin(ReadOnlyAdmin):
    list_display = ("created", "state", "act", "found", "progress", "failed", "reason", "created_by", "tenant")
    list_select_related = ("tenant",)
    list_filter = (StatusFilter, WaitingReleaseFilter, TenantFilter)
    ordering = ("-created_at", "-id")
    list_per_page = 20
    sortable_by = ()
    empty = "Start a campaign to act on many executions at once. Nothing happens before you have seen a preview."
    change_list_template = "executions/campaign_list.html"
    known: dict[uuid.UUID, Progress]
    became: dict[uuid.UUID, Results]
    """What the columns of one list show of its campaigns."""

    created = time("Created", "created_at")

    @badge("Status", {**VARIANTS, **{f"{status}, FAILED AGAIN": "danger" for status in VARIANTS}})
    def state(self, campaign: Campaign) -> str:
        return f"{campaign.status}, FAILED AGAIN" if self.became[campaign.pk].failed_again else campaign.status

    @column("Act")
    def act(self, campaign: Campaign) -> str:
        return _verb(campaign).lower()

    @column("Selection")
    def found(self, campaign: Campaign) -> str:
        found = "; ".join(f"{label}: {value}" for label, value, _ in conditions(campaign.filters))
        return Truncator(found).chars(FILTERS_SHOWN) if found else "chosen executions"

    @column("Done")
    def progress(self, campaign: Campaign) -> str:
        known = self.known[campaign.pk]
        return f"{known.total - known.pending:,} of {known.total:,}"

    @column("Failed again")
    def failed(self, campaign: Campaign) -> str:
        return f"{self.became[campaign.pk].failed_again:,}" if campaign.runs_again else "-"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count the items of all campaigns on the page with two queries, for the columns."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        ids = [row.pk for row in changelist.result_list]
        changelist.model_admin = columns = copy(self)
        columns.known, columns.became = campaigns.progress(ids), results(ids)
        return changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        more = {"may_start": tenants_of(request.user, Scope.OPERATE).exists()}
        return super().changelist_view(request, {**more, **(extra_context or {})})

    consequence = "The selection is removed and cannot be restored. The selected executions stay as they are."
    start = selection_pages.start
    begin = draft_pages.begin
    discard = draft_pages.discard
    instead = draft_pages.instead

    pause = _controlled("pause", Act.CAMPAIGN_PAUSE, _pause_confirmation, campaigns.pause)
    resume = _controlled("resume", Act.CAMPAIGN_RESUME, _resume_confirmation, campaigns.resume)
    cancel = _controlled("cancel", Act.CAMPAIGN_CANCEL, _cancel_confirmation, campaigns.cancel)

    def show(self, request: HttpRequest, row: Campaign) -> HttpResponse:
        if row.status == Status.DRAFT:
            return draft_pages.show(self, request, row)
        more: dict[str, Any] = {"title": f"Campaign of {moment(row.created_at)}", "original": row}
        if row.status == Status.DRAFTING:
            return self.page(request, "executions/campaign_drafting.html", **more, **self._drafting(request, row))
        return self.page(request, "executions/campaign.html", **more, **self._shown(request, row))

    @serves("<uuid:object_id>/live/", polled=True)
    def live(self, request: HttpRequest, campaign: Campaign) -> HttpResponse:
        """Return the live part of the page, or 204 if the page already shows its current state.

        When a campaign is no longer DRAFTING, the page is loaded again.
        """
        if campaign.status == Status.DRAFTING:
            return self.page(request, "executions/campaign_drafting_live.html", **self._drafting(request, campaign))
        if request.GET.get("shown") == Status.DRAFTING:
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        shown = self._shown(request, campaign)
        if request.GET.get("shown") == shown["mark"]:
            return HttpResponse(status=204)
        return self.page(request, "executions/campaign_live.html", **shown)

    def _drafting(self, request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
        """Return what the page of a campaign shows until all of its items are written."""
        progress = campaigns.progress_of(campaign.pk)
        return {
            "campaign": campaign,
            "progress": progress,
            "left": progress.total - progress.drafted,
            "may_discard": all(
                self.has_scope(request, scope, campaign) for scope in draft_pages.scopes_of(campaign.kind)
            ),
        }

    def _shown(self, request: HttpRequest, campaign: Campaign) -> dict[str, Any]:
        progress, became = campaigns.progress_of(campaign.pk), results_of(campaign.pk)
        blocked = resubmitting.waiting(campaign)
        done, _ = DONE[Campaign.Kind(campaign.kind)]
        outcome = request.GET.get("outcome", "")
        outcomes = _outcomes(campaign)
        outcome = outcome if outcome in outcomes else ""
        number = _page_number(request)
        items = _items(campaign, outcome, number)
        shown = items[:ITEMS_SHOWN]
        read_business_keys([item.execution for item in shown if item.execution])
        events = list(campaign.events.order_by("-id")[:EVENTS_SHOWN])
        return {
            "campaign": campaign,
            "variant": VARIANTS[campaign.status],
            "progress": progress,
            "resubmits": campaign.kind == Campaign.Kind.RESUBMIT,
            "verb": f"{_verb(campaign)}s",
            "done_word": done,
            "became": became,
            "blocked": blocked.items(),
            "kind": _verb(campaign).lower(),
            "conditions": list(conditions(campaign.filters)),
            "events": [{"event": event, "data": on_one_line(event.data)} for event in events],
            "items": [_line(item) for item in shown],
            "outcome": outcome,
            "outcomes": outcomes.items(),
            "number": number,
            "more_items": len(items) > ITEMS_SHOWN,
            "follows": campaign.status in LIVE or became.running + became.waiting > 0,
            "seconds": 2 if progress.total <= LARGE else 15,
            "may_operate": self.has_scope(request, Scope.OPERATE, campaign),
            # Changes with every change of the page.
            "mark": f"{campaign.status}.{progress.pending}.{progress.done}.{progress.skipped}.{len(events)}."
            f"{became.running}.{became.waiting}.{became.succeeded}.{became.failed_again}."
            + "".join(f"{why.code}." for why in blocked.values())
            + "".join(item.outcome[0] + _current_status(item)[:2] for item in shown),
        }


def _verb(campaign: Campaign) -> str:
    return draft_pages.VERBS[Campaign.Kind(campaign.kind)]


def _outcomes(campaign: Campaign) -> dict[str, str]:
    done, result = DONE[Campaign.Kind(campaign.kind)]
    again = {FAILED_AGAIN: "Failed again"} if campaign.runs_again else {}
    return {
        ItemResult.PENDING.value: "Pending",
        result.value: done.capitalize(),
        **again,
        ItemResult.SKIPPED.value: "Skipped",
    }


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return min(max(int(text), 1), 100_000) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _items(campaign: Campaign, outcome: str, number: int) -> list[CampaignItem]:
    """Return the items of a page, and one more if there is another page."""
    rows = campaigns.items(campaign)
    if outcome == FAILED_AGAIN:
        rows = campaigns.failed_again(rows)
    elif outcome:
        rows = rows.filter(outcome=outcome)
    first = (number - 1) * ITEMS_SHOWN
    return list(rows[first : first + ITEMS_SHOWN + 1])


def _line(item: CampaignItem) -> dict[str, Any]:
    return {
        "item": item,
        "variant": RESULT_VARIANTS[item.outcome],
        "status": _current_status(item),
        "status_variant": STATE_VARIANTS.get(_current_status(item), "default"),
    }


def _current_status(item: CampaignItem) -> str:
    """Return the current status of the item's execution, or of the new one that resubmits it."""
    execution = item.new_execution if item.outcome == ItemResult.RESUBMITTED else item.execution
    return execution.shown_status if execution else REMOVED
