"""Acts on many executions of the list. The selection is frozen as the draft of a campaign, whose page starts it."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from executions.admin.campaign_drafts import scopes_of
from executions.admin.execution_search import SearchRequest
from executions.campaigns.drafts import freeze
from executions.models import Campaign, Execution
from foundation.database.bounded import time_limit
from foundation.errors import CoordinatorError, InvalidRequest
from tenancy.access import actor, may
from tenancy.admin.base import ReadOnlyAdmin
from tenancy.models import Tenant

SECONDS = 30
ALL = "all"
KINDS = frozenset(Campaign.Kind.values)


def view(pages: ReadOnlyAdmin) -> Callable[..., HttpResponseBase]:
    """Return the view that freezes the selected rows, or all rows that match the query of its address."""

    def act(request: HttpRequest, kind: str) -> HttpResponse:
        if kind not in KINDS or not pages.has_view_permission(request):
            raise Http404
        requested = SearchRequest.of(request)
        try:
            rows = _selected(request, requested)
            tenant = _tenant(request, requested, rows)
            _require(request, tenant, kind)
            with time_limit(SECONDS):
                draft = freeze(tenant, Campaign.Kind(kind), rows, actor=actor(request.user))
        except CoordinatorError as problem:
            messages.error(request, problem.detail)
            return redirect(f"{reverse('admin:executions_execution_changelist')}?{requested.query_string}")
        return redirect("admin:executions_campaign_change", draft.pk)

    return require_POST(act)


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
    tenants: list[Any] = [each for each in requested.tenants if requested.search.tenant in (None, each.slug)]
    if request.POST.get("rows") != ALL:
        ids = set(rows.order_by().values_list("tenant", flat=True))
        tenants = [each for each in tenants if each.pk in ids]
    if not tenants:
        raise Http404
    if len(tenants) > 1:
        raise InvalidRequest("A campaign covers one tenant. Filter by tenant first.")
    found: Tenant = tenants[0]
    return found


def _require(request: HttpRequest, tenant: Tenant, kind: str) -> None:
    if not all(may(request.user, tenant, scope) for scope in scopes_of(kind)):
        request.denied_tenant = tenant  # type: ignore[attr-defined]  # the audit log needs it
        raise PermissionDenied
