"""The page that starts a campaign with filters: what matches them is frozen as a draft, which is then shown."""

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from executions.admin.wording import REASONS
from executions.campaigns import drafts
from executions.campaigns.selection import WIRE_NAMES, Filters, selected
from executions.models import Campaign
from foundation.admin.times import MomentField
from foundation.errors import CoordinatorError
from releases.models import IDENTITY_LENGTH
from tenancy.access import actor, may, tenants_of
from tenancy.admin.base import ReadOnlyAdmin, problem_of
from tenancy.models import Tenant
from tenancy.roles import Scope

KINDS = (
    (Campaign.Kind.REDRIVE.value, "Re-drive failed executions, each on its own release"),
    (Campaign.Kind.RESUBMIT.value, "Resubmit failed executions as new ones"),
    (Campaign.Kind.CANCEL.value, "Cancel executions that have not ended"),
    (Campaign.Kind.PAUSE.value, "Pause executions that have not ended"),
)


def _text(label: str, longest: int = IDENTITY_LENGTH) -> forms.CharField:
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    return forms.CharField(label=label, required=False, strip=False, max_length=longest, widget=widget)


def _time(label: str, help_text: str) -> MomentField:
    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
    return MomentField(label=label, required=False, help_text=help_text, widget=widget)


class FiltersForm(forms.Form):
    """Filters of executions. Offers only tenants in which the user may operate."""

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
        choices=[("", "Any"), *REASONS.items()],
        widget=UnfoldAdminSelectWidget,
    )
    finished_from = _time("Failed from", "In your time zone.")
    finished_to = _time("Failed before", "In your time zone. Exclusive.")
    failure_group = forms.UUIDField(
        label="Failure group",
        required=False,
        help_text="The id of the group, which its page shows.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    kind = forms.ChoiceField(
        label="What to do",
        required=False,
        choices=KINDS,
        widget=UnfoldAdminSelectWidget,
    )
    allow_failed = forms.BooleanField(
        label="Include FAILED executions, whose errors are not retryable",
        required=False,
        widget=UnfoldBooleanWidget,
    )

    def __init__(self, request: HttpRequest) -> None:
        data = request.POST if request.method == "POST" else request.GET
        super().__init__(data if set(data) & set(self.base_fields) or request.method == "POST" else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.OPERATE)

    @property
    def requested_kind(self) -> Campaign.Kind:
        return Campaign.Kind(self.cleaned_data["kind"] or Campaign.Kind.REDRIVE)

    @property
    def filters(self) -> Filters:
        return Filters(**{name: self.cleaned_data[name] or None for name in WIRE_NAMES})


def start(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """On GET, show the filters. On POST, freeze what matches them as a draft, and show it."""
    if not tenants_of(request.user, Scope.OPERATE).exists():
        raise PermissionDenied
    form = FiltersForm(request)
    valid = form.is_valid()
    if request.method != "POST" or not valid:
        return _page(pages, request, form, status=400 if form.is_bound and not valid else 200)
    tenant, allow_failed = form.cleaned_data["tenant"], form.cleaned_data["allow_failed"]
    if form.requested_kind == Campaign.Kind.RESUBMIT and not may(request.user, tenant, Scope.SUBMIT):
        raise PermissionDenied
    try:
        draft = drafts.freeze(
            tenant,
            form.requested_kind,
            selected(tenant, form.requested_kind, form.filters, allow_failed=allow_failed),
            actor=actor(request.user),
            filters=form.filters.to_json(),
            allow_failed=allow_failed,
        )
    except CoordinatorError as error:
        return _page(pages, request, form, error=error, status=error.status)
    messages.success(request, "This is a preview. Nothing is done until you start it.")
    return redirect("admin:executions_campaign_change", draft.pk)


def _page(
    pages: ReadOnlyAdmin,
    request: HttpRequest,
    form: FiltersForm,
    *,
    status: int,
    error: CoordinatorError | None = None,
) -> HttpResponse:
    return pages.page(
        request,
        "executions/campaign_start.html",
        status=status,
        title="Start a campaign",
        filtering=form,
        problem=problem_of(error) if error else None,
    )
