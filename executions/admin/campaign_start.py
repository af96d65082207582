"""The page that starts a campaign: first the filters and a preview of what they match, then a reason and a rate."""

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from executions.admin.confirmation import LONGEST_REASON
from executions.admin.filters import STATE_VARIANTS
from executions.admin.resubmit import STARTS
from executions.campaigns import campaigns
from executions.campaigns.campaigns import HIGHEST_RATE
from executions.campaigns.filters import WIRE_NAMES, Filters, Preview, preview
from executions.models import Campaign, DeadLetter, StartFrom
from foundation.errors import CoordinatorError
from releases.models import IDENTITY_LENGTH
from tenancy.access import actor, may, tenants_of
from tenancy.admin.base import ReadOnlyAdmin, problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope

USUAL_RATE = 60


def _text(label: str, longest: int = IDENTITY_LENGTH) -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    return forms.CharField(label=label, required=False, strip=False, max_length=longest, widget=widget)


def _time(label: str, help_text: str) -> forms.DateTimeField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
    return forms.DateTimeField(label=label, required=False, help_text=help_text, widget=widget)


class FiltersForm(forms.Form):
    """Filters of failed executions. Offers only tenants in which the user may operate."""

    tenant = forms.ModelChoiceField(
        Tenant.objects.none(), to_field_name="slug", empty_label=None, widget=UnfoldAdminSelectWidget
    )
    pipeline_id = _text("Pipeline")
    release_version = _text("Release version")
    contract_version = _text("Contract version")
    error_code = _text("Error code", 100)
    reason = forms.ChoiceField(
        label="Cause of the failure",
        required=False,
        choices=[("", "Any"), *((value, value) for value in DeadLetter.Reason.values)],
        widget=UnfoldAdminSelectWidget,
    )
    finished_from = _time("Failed from", "In your time zone.")
    finished_to = _time("Failed before", "In your time zone. Exclusive.")
    kind = forms.ChoiceField(
        label="Kind",
        required=False,
        choices=[
            ("redrive", "Re-drive on the release of each execution"),
            ("resubmit", "Resubmit as new executions"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    allow_failed = forms.BooleanField(
        label="Include FAILED executions, whose errors are not retryable",
        required=False,
        widget=UnfoldBooleanWidget,
    )

    def __init__(self, request: HttpRequest) -> None:
        data = request.POST if request.method == "POST" else request.GET
        super().__init__(data if set(data) & set(self.base_fields) else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.OPERATE)

    @property
    def requested_kind(self) -> Campaign.Kind:
        return Campaign.Kind(self.cleaned_data["kind"] or Campaign.Kind.REDRIVE)

    @property
    def filters(self) -> Filters:
        return Filters(**{name: self.cleaned_data[name] or None for name in WIRE_NAMES})


class StartForm(forms.Form):
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
    why = forms.CharField(
        label="Reason",
        max_length=LONGEST_REASON,
        help_text="Stored in the history of each execution.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
    rate_per_minute = forms.IntegerField(
        label="Maximum rate per minute",
        min_value=1,
        max_value=HIGHEST_RATE,
        initial=USUAL_RATE,
        help_text="Choose a rate that the systems which failed can handle.",
        widget=UnfoldAdminIntegerFieldWidget(attrs={"x-model.number": "rate"}),
    )
    allow_revoked = forms.BooleanField(
        label="Run the revoked releases that the preview names",
        required=False,
        help_text="Without this, a campaign that would run a revoked release is refused.",
        widget=UnfoldBooleanWidget,
    )


def start(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """On GET, show the filters and a preview of what they match. On POST, start a campaign with them."""
    if not tenants_of(request.user, Scope.OPERATE).exists():
        raise PermissionDenied
    filtering, starting = FiltersForm(request), StartForm(request.POST if request.method == "POST" else None)
    if not filtering.is_valid():
        return _page(pages, request, filtering, starting, status=400 if filtering.is_bound else 200)
    tenant, allow_failed = filtering.cleaned_data["tenant"], filtering.cleaned_data["allow_failed"]
    if filtering.requested_kind == Campaign.Kind.RESUBMIT and not may(request.user, tenant, Scope.SUBMIT):
        raise PermissionDenied
    try:
        if not starting.is_valid():
            found = preview(tenant, filtering.filters, allow_failed=allow_failed)
            return _page(pages, request, filtering, starting, found=found, status=400 if starting.is_bound else 200)
        campaign = campaigns.start(
            tenant,
            filtering.filters,
            reason=starting.cleaned_data["why"],
            rate_per_minute=starting.cleaned_data["rate_per_minute"],
            actor=actor(request.user),
            allow_failed=allow_failed,
            allow_revoked=starting.cleaned_data["allow_revoked"],
            kind=filtering.requested_kind,
            target_release_version=starting.cleaned_data["target_release_version"] or None,
            start_from=StartFrom(starting.cleaned_data["start_from"] or StartFrom.INPUT),
        )
    except CoordinatorError as error:
        return _page(pages, request, filtering, starting, error=error, status=error.status)
    count = campaigns.progress([campaign.pk])[campaign.pk].total
    rate = campaign.rate_per_minute
    messages.success(request, f"The campaign has started. Executions: {count:,}. Rate: {rate:,} per minute.")
    return redirect("admin:executions_campaign_change", campaign.pk)


def _page(
    pages: ReadOnlyAdmin,
    request: HttpRequest,
    filtering: FiltersForm,
    starting: StartForm,
    *,
    status: int,
    found: Preview | None = None,
    error: CoordinatorError | None = None,
) -> HttpResponse:
    return pages.page(
        request,
        "executions/campaign_start.html",
        status=status,
        title="Start a campaign",
        filtering=filtering,
        hidden=[field.as_hidden({"id": f"start_{field.name}"}) for field in filtering] if filtering.is_bound else [],
        starting=starting,
        resubmits=filtering.is_valid() and filtering.requested_kind == Campaign.Kind.RESUBMIT,
        found=found,
        sample=[(each, STATE_VARIANTS[each.status]) for each in found.executions] if found else [],
        problem=problem_of(error) if error else None,
    )
