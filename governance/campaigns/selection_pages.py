"""The ways to select what a campaign acts on: filters, and rows of lists. The selection is frozen as a draft."""

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from executions.console.execution_search import SearchRequest
from executions.failures.queries import REASONS
from executions.models import Campaign, Execution
from foundation.admin.columns import MomentField
from foundation.database.bounded import time_limit
from foundation.errors import CoordinatorError, InvalidRequest
from governance.campaigns.draft_pages import require
from governance.campaigns.drafts import freeze
from governance.campaigns.selection import WIRE_NAMES, Filters, selected
from releases.models import IDENTITY_LENGTH
from tenancy.access import actor, has_scope, tenants_of
from tenancy.audit.acts import Act
from tenancy.console.base import POST, ReadOnlyAdmin, problem_of, serves
from tenancy.models import Tenant
from tenancy.roles import Scope

SECONDS = 30
ALL = "all"
Kind = Campaign.Kind
KINDS = (
    (Kind.REDRIVE.value, "Re-drive failed executions, each on its own release"),
    (Kind.RESUBMIT.value, "Resubmit failed executions as new ones"),
    (Kind.CANCEL.value, "Cancel executions that have not ended"),
    (Kind.PAUSE.value, "Pause executions that have not ended"),
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
    kind = forms.ChoiceField(label="What to do", required=False, choices=KINDS, widget=UnfoldAdminSelectWidget)
    allow_failed = forms.BooleanField(
        label="Include FAILED executions, whose errors are not retryable", required=False, widget=UnfoldBooleanWidget
    )

    def __init__(self, request: HttpRequest) -> None:
        data = request.POST if request.method == "POST" else request.GET
        super().__init__(data if set(data) & set(self.base_fields) or request.method == "POST" else None)
        field = self.fields["tenant"]
        assert isinstance(field, forms.ModelChoiceField)  # noqa: S101 - declared above
        field.queryset = tenants_of(request.user, Scope.OPERATE)

    @property
    def requested_kind(self) -> Kind:
        return Kind(self.cleaned_data["kind"] or Kind.REDRIVE)

    @property
    def filters(self) -> Filters:
        return Filters(**{name: self.cleaned_data[name] or None for name in WIRE_NAMES})


@serves("start/", Act.CAMPAIGN_DRAFT, Scope.OPERATE)
def start(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """On GET, show the filters. On POST, freeze what matches them as a draft, and show it."""
    form = FiltersForm(request)
    valid = form.is_valid()

    def page(status: int, error: CoordinatorError | None = None) -> HttpResponse:
        shown = {"title": "Start a campaign", "filtering": form, "problem": problem_of(error)}
        return pages.page(request, "executions/campaign_start.html", status=status, **shown)

    if request.method != "POST" or not valid:
        return page(400 if form.is_bound and not valid else 200)
    tenant, allow_failed = form.cleaned_data["tenant"], form.cleaned_data["allow_failed"]
    if form.requested_kind == Kind.RESUBMIT and not has_scope(request.user, tenant, Scope.SUBMIT):
        raise PermissionDenied
    try:
        draft = freeze(
            tenant,
            form.requested_kind,
            selected(tenant, form.requested_kind, form.filters, allow_failed=allow_failed),
            actor=actor(request.user),
            filters=form.filters.to_json(),
            allow_failed=allow_failed,
        )
    except CoordinatorError as error:
        return page(error.status, error)
    messages.success(request, "This is a preview. Nothing is done until you start it.")
    return redirect("admin:executions_campaign_change", draft.pk)


# --- rows that a person has ticked ---


@serves("act/<str:kind>/", Act.CAMPAIGN_DRAFT, methods=POST)
def act(pages: ReadOnlyAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """Freeze the selected rows of the list of executions, or all rows that match the query of its address."""
    if kind not in Kind.values or not pages.has_view_permission(request):
        raise Http404
    requested = SearchRequest.of(request)
    try:
        with time_limit(SECONDS):
            rows = _selected(request, requested)
            tenant = _tenant(request, requested, rows)
            require(request, tenant, kind, Act.CAMPAIGN_DRAFT)
            draft = freeze(tenant, Kind(kind), rows, actor=actor(request.user))
    except CoordinatorError as problem:
        messages.error(request, problem.detail)
        return redirect(f"{reverse('admin:executions_execution_changelist')}?{requested.query_string}")
    return redirect("admin:executions_campaign_change", draft.pk)


def _selected(request: HttpRequest, requested: SearchRequest) -> QuerySet[Execution]:
    """Return what the form names. Raises the problem of the query, and `InvalidRequest` if no row is selected."""
    if requested.problem:
        raise requested.problem
    if request.POST.get("rows") == ALL:
        return requested.rows()
    try:
        ids = [uuid.UUID(text) for text in request.POST.getlist("execution")]
    except ValueError:
        raise InvalidRequest("A selected row is not an execution.") from None
    if not ids:
        raise InvalidRequest("Select at least one execution.")
    return Execution.objects.filter(tenant__in=requested.tenants, pk__in=ids)


def _tenant(request: HttpRequest, requested: SearchRequest, rows: QuerySet[Execution]) -> Tenant:
    """Return the tenant of the rows. Raises `Http404` without rows, and `InvalidRequest` if they have several."""
    tenants: list[Any] = [tenant for tenant in requested.tenants if requested.search.tenant in (None, tenant.slug)]
    if request.POST.get("rows") != ALL:
        ids = set(rows.order_by().values_list("tenant", flat=True))
        tenants = [tenant for tenant in tenants if tenant.pk in ids]
    if not tenants:
        raise Http404
    if len(tenants) > 1:
        raise InvalidRequest("A campaign covers one tenant. Filter by tenant first.")
    tenant: Tenant = tenants[0]
    return tenant
