"""The pages of a draft: what was selected, the options, and the requests to make, start and discard it."""

from collections import Counter
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from executions.console.confirmation import LONGEST_REASON
from executions.console.filters import STATE_VARIANTS
from executions.models import Campaign, StartFrom, read_business_keys
from foundation.errors import CoordinatorError
from governance.campaigns import drafts
from governance.campaigns.campaigns import HIGHEST_RATE, Options, executions_of
from governance.campaigns.drafts import Contents
from governance.resubmission.pages import STARTS
from releases.models import IDENTITY_LENGTH
from tenancy.access import actor, has_scope
from tenancy.audit.acts import Act, Denied
from tenancy.console.base import ReadOnlyAdmin, problem_of, serves
from tenancy.models import Tenant
from tenancy.roles import Scope

Kind = Campaign.Kind
USUAL_BOUND = 10
MOST_ITEMS = drafts.MOST_ITEMS
VERBS = {Kind.REDRIVE: "Re-drive", Kind.RESUBMIT: "Resubmit", Kind.CANCEL: "Cancel", Kind.PAUSE: "Pause"}
GROUPS_SHOWN = 20


def scopes_of(kind: str) -> tuple[Scope, ...]:
    """Return the scopes that a campaign of this kind needs: a resubmission also creates executions."""
    return (Scope.OPERATE, Scope.SUBMIT) if kind == Kind.RESUBMIT else (Scope.OPERATE,)


def _number(label: str, help_text: str, **more: Any) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, help_text=help_text, min_value=1, widget=UnfoldAdminIntegerFieldWidget(), **more
    )


class OptionsForm(forms.Form):
    """The options of a draft. Has only the fields that its kind takes."""

    why = forms.CharField(
        label="Reason",
        max_length=LONGEST_REASON,
        help_text="Stored in the history of each execution.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    target_release_version = forms.CharField(
        label="Target release version",
        required=False,
        strip=False,
        max_length=IDENTITY_LENGTH,
        help_text="Empty: each new execution gets the release that is active at its time.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    start_from = forms.ChoiceField(
        label="Start",
        required=False,
        choices=STARTS,
        help_text="With the checkpoint: executions are skipped unless it is proven that the release can continue.",
        widget=UnfoldAdminSelectWidget,
    )
    rate_per_minute = _number(
        "Maximum rate per minute", "Choose a rate that the affected systems can handle.", max_value=HIGHEST_RATE
    )
    canary = _number(
        "Canary",
        "Optional. This many run first. The others follow only if none of them fails again.",
        max_value=MOST_ITEMS,
        required=False,
    )
    stop_after_failures = _number(
        "Pause after failures",
        "The campaign pauses itself when this many have failed again. Empty: it never does.",
        max_value=MOST_ITEMS,
        required=False,
    )
    allow_revoked = forms.BooleanField(
        label="Run the code of the revoked releases again",
        required=False,
        help_text="Without this, a campaign that would run a revoked release is refused.",
        widget=UnfoldBooleanWidget,
    )

    def __init__(self, draft: Campaign, data: Any = None, *, revoked: bool) -> None:
        initial = {name: getattr(draft, name) for name in self.base_fields if name != "why"}
        initial |= {"why": draft.reason, "stop_after_failures": draft.stop_after_failures or USUAL_BOUND}
        super().__init__(data, initial=initial)
        foreign = [] if draft.runs_again else ["canary", "stop_after_failures"]
        foreign += [] if draft.kind == Kind.RESUBMIT else ["target_release_version", "start_from"]
        foreign += [] if revoked and draft.kind == Kind.REDRIVE else ["allow_revoked"]
        for name in foreign:
            del self.fields[name]

    @property
    def options(self) -> Options:
        sent = self.cleaned_data
        members = {name: value for name, value in sent.items() if name != "why"}
        start_from = StartFrom(sent.get("start_from") or StartFrom.INPUT)
        return Options(**{**members, "reason": sent["why"], "start_from": start_from})


def show(
    pages: ReadOnlyAdmin,
    request: HttpRequest,
    draft: Campaign,
    *,
    data: Any = None,
    error: CoordinatorError | None = None,
    status: int = 200,
) -> HttpResponse:
    """Show the page of a draft, with the options as sent if they were rejected."""
    contents = drafts.contents(draft)
    read_business_keys(contents.executions)
    form = OptionsForm(draft, data, revoked=bool(contents.revoked))
    return pages.page(
        request,
        "executions/campaign_draft.html",
        status=status,
        title=f"{VERBS[Kind(draft.kind)]} executions: preview",
        original=draft,
        campaign=draft,
        verb=VERBS[Kind(draft.kind)],
        card_title=f"{VERBS[Kind(draft.kind)]} {'it' if contents.count == 1 else 'them'}",
        found=contents,
        most=MOST_ITEMS,
        **_counts(draft, contents),
        sample=[(execution, STATE_VARIANTS[execution.status]) for execution in contents.executions],
        form=form,
        problem=problem_of(error),
        may_operate=all(pages.has_scope(request, scope, draft) for scope in scopes_of(draft.kind)),
        may_resubmit=all(pages.has_scope(request, scope, draft) for scope in scopes_of(Kind.RESUBMIT)),
    )


def _counts(draft: Campaign, contents: Contents) -> dict[str, Any]:
    """Return the executions by status, release and error, and how many would run on a release that is not active."""
    by_status, by_error = Counter[str](), Counter[str]()
    by_release = Counter[tuple[str, str]]()
    elsewhere = 0
    revoked = {release.release_id for release in contents.revoked}
    revoked_names = {(release.pipeline_id, release.release_version) for release in contents.revoked}
    for group in contents.groups:
        pipeline_id, version, count = group["pipeline_id"] or "", group["release_version"] or "", group["count"]
        by_status[group["status"]] += count
        by_release[pipeline_id, version] += count
        if group["error_code"]:
            by_error[group["error_code"]] += count
        if group["release_id"] not in (None, *revoked) and contents.active.get(pipeline_id) != version:
            elsewhere += count

    def state(pipeline_id: str, version: str) -> str:
        if (pipeline_id, version) in revoked_names:
            return "revoked"
        return "active" if contents.active.get(pipeline_id) == version else "not active"

    return {
        "by_status": [(name, STATE_VARIANTS.get(name, "default"), count) for name, count in by_status.most_common()],
        "by_release": [
            {"pipeline_id": name, "release_version": version, "count": count, "state": state(name, version)}
            for (name, version), count in by_release.most_common(GROUPS_SHOWN)
        ],
        "by_error": by_error.most_common(GROUPS_SHOWN),
        "elsewhere": elsewhere if draft.kind == Kind.REDRIVE else 0,
    }


# --- requests -------------------------------------------------------------------------------------


@serves("<uuid:object_id>/begin/", Act.CAMPAIGN_START, Scope.OPERATE)
def begin(pages: ReadOnlyAdmin, request: HttpRequest, draft: Campaign) -> HttpResponse:
    """Start a draft with the options that were sent."""
    require(request, draft.tenant, draft.kind, Act.CAMPAIGN_START)
    if request.method != "POST":
        return redirect("admin:executions_campaign_change", draft.pk)
    if draft.status != Campaign.Status.DRAFT:
        why = "Its items are still written." if draft.status == Campaign.Status.DRAFTING else "It was started before."
        messages.error(request, f"The campaign is {draft.status}. {why}")
        return redirect("admin:executions_campaign_change", draft.pk)
    form = OptionsForm(draft, request.POST, revoked=True)
    if not form.is_valid():
        return show(pages, request, draft, data=request.POST, status=400)
    try:
        campaign = drafts.start(draft.tenant, draft.pk, form.options, actor=actor(request.user))
    except CoordinatorError as error:
        return show(pages, request, draft, data=request.POST, error=error, status=error.status)
    rate = campaign.rate_per_minute
    count = campaign.items.count()
    messages.success(request, f"The campaign has started. Executions: {count:,}. Rate: {rate:,} per minute.")
    return redirect("admin:executions_campaign_change", campaign.pk)


@serves("<uuid:object_id>/discard/", Act.CAMPAIGN_DISCARD, Scope.OPERATE)
def discard(pages: ReadOnlyAdmin, request: HttpRequest, draft: Campaign) -> HttpResponse:
    require(request, draft.tenant, draft.kind, Act.CAMPAIGN_DISCARD)
    if request.method != "POST":
        return pages.ask(request, draft, "Discard the draft")
    try:
        drafts.discard(draft.tenant, draft.pk, actor=actor(request.user))
    except CoordinatorError as error:
        messages.error(request, error.detail)
        return redirect("admin:executions_campaign_change", draft.pk)
    messages.success(request, "The draft was discarded. Nothing was done.")
    return redirect("admin:executions_campaign_changelist")


@serves("<uuid:object_id>/instead/", Act.CAMPAIGN_DRAFT, Scope.OPERATE)
def instead(pages: ReadOnlyAdmin, request: HttpRequest, draft: Campaign) -> HttpResponse:
    """Make another draft, which resubmits the executions of one that would re-drive them."""
    require(request, draft.tenant, Kind.RESUBMIT, Act.CAMPAIGN_DRAFT)
    if request.method != "POST" or draft.status == Campaign.Status.DRAFTING:
        return redirect("admin:executions_campaign_change", draft.pk)
    try:
        other = drafts.freeze(
            draft.tenant,
            Kind.RESUBMIT,
            executions_of(draft),
            actor=actor(request.user),
            reason=draft.reason,
            filters=draft.filters,
            allow_failed=draft.allow_failed,
        )
    except CoordinatorError as error:
        return show(pages, request, draft, error=error, status=error.status)
    messages.success(request, "This draft resubmits the same executions. The other draft still exists.")
    return redirect("admin:executions_campaign_change", other.pk)


def require(request: HttpRequest, tenant: Tenant, kind: str, act: Act) -> None:
    """Raise `Denied` unless the user holds all scopes that a campaign of this kind needs."""
    if not all(has_scope(request.user, tenant, scope) for scope in scopes_of(kind)):
        raise Denied(act, tenant)
