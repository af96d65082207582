"""Saved views of the list of executions: the built-in ones, and those that people save and share."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from executions import columns
from executions.console.execution_search import COLUMNS, PAGING, SearchRequest, tidy_query
from executions.search import parse
from foundation.errors import CoordinatorError, NotFound
from tenancy import saved_views
from tenancy.access import ScopeMissing, tenants_of
from tenancy.admin.base import POST, ReadOnlyAdmin, serves
from tenancy.audit.acts import Act, Denied
from tenancy.models import SavedView, Tenant

PAGE = SavedView.Page.EXECUTIONS
BUILT_IN = {
    "All": "",
    "Live": "status=live",
    "Failed in the last hour": "status=failed&ended=1h",
    "Waiting": "status=WAITING_EXTERNAL",
    "Mine": "by=me&since=7d",
}
"""The query of each built-in view."""


@dataclass(frozen=True, slots=True)
class Tab:
    """A link to a view. `view_id` is the key of a saved view that the user may remove, or None."""

    name: str
    query: str
    current: bool
    shared_with: str = ""
    view_id: int | None = None


def tabs(requested: SearchRequest) -> Iterator[Tab]:
    """Yield the built-in views, and then those of the user and of the user's tenants."""
    conditions = {name: text for name, text in requested.query.items() if name != COLUMNS}
    for name, query in BUILT_IN.items():
        yield Tab(name, query, QueryDict(query).dict() == conditions)
    operated = {tenant.pk for tenant in requested.operated}
    for view in saved_views.views(requested.person, PAGE):
        removable = view.tenant_id is None or view.tenant_id in operated
        yield Tab(
            view.name,
            view.query,
            QueryDict(view.query).dict() == requested.query,
            shared_with=view.tenant.slug if view.tenant else "",
            view_id=view.pk if removable else None,
        )


@serves("views/", Act.SAVED_VIEW_SAVE, methods=POST)
def save(pages: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """Save the posted query under a name."""
    if not pages.has_view_permission(request):
        raise PermissionDenied
    query = _query_of(request)
    tenant = _tenant(request)
    person = SearchRequest.of(request).person
    try:
        _check(query)
        view = saved_views.save(person, PAGE, request.POST.get("name", "").strip(), query, tenant=tenant)
    except ScopeMissing:
        raise Denied(Act.SAVED_VIEW_SAVE, tenant) from None
    except CoordinatorError as problem:
        messages.error(request, f"The view is not saved: {problem.detail}")
    else:
        messages.success(request, f"The view “{view.name}” is saved.")
    return _list(query)


@serves("views/<int:view_id>/remove/", Act.SAVED_VIEW_REMOVE, methods=POST)
def remove(pages: ReadOnlyAdmin, request: HttpRequest, view_id: int) -> HttpResponse:
    """Remove a saved view."""
    if not pages.has_view_permission(request):
        raise PermissionDenied
    try:
        view = saved_views.remove(SearchRequest.of(request).person, view_id)
    except NotFound:
        raise Http404 from None
    except ScopeMissing:
        raise Denied(Act.SAVED_VIEW_REMOVE, SavedView.objects.get(pk=view_id).tenant) from None
    messages.success(request, f"The view “{view.name}” is removed.")
    return _list("")


def _query_of(request: HttpRequest) -> str:
    query = QueryDict(request.POST.get("query", ""), mutable=True)
    for name in PAGING & query.keys():
        del query[name]
    return tidy_query(query)


def _check(query: str) -> None:
    """Raise `InvalidRequest` unless the query is one of the list."""
    values = QueryDict(query).dict()
    names = values.pop(COLUMNS, "")
    columns.chosen(filter(None, names.split(columns.SEPARATOR)))
    parse(values, now=timezone.now())


def _tenant(request: HttpRequest) -> Tenant | None:
    """Return the tenant to share the view with. Raises `Http404` if the user may not see it."""
    slug = request.POST.get("tenant", "")
    if not slug:
        return None
    tenant = tenants_of(request.user).filter(slug=slug).first()
    if tenant is None:
        raise Http404
    return tenant


def _list(query: str) -> HttpResponse:
    address = reverse("admin:executions_execution_changelist")
    return redirect(f"{address}?{query}" if query else address)
