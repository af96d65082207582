"""The admin pages of governance, and the list of executions with the acts on many rows.

The list has a search, columns, saved views and exports. `executions.console.execution_page` has the page of one.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from executions import columns
from executions.console.execution_list import ExecutionColumns, columns_of, export, fields, shown
from executions.console.execution_page import ExecutionPages
from executions.console.execution_search import (
    COLUMNS,
    ExecutionList,
    SearchRequest,
    remove_view,
    save_view,
    tabs,
    tidy_query,
)
from executions.models import Campaign, Execution
from governance import pipeline_page, release_page
from governance.campaigns import pages as campaigns
from governance.campaigns import selection_pages
from governance.campaigns.draft_pages import VERBS, scopes_of
from governance.requests import pages as requests
from governance.resubmission import pages as resubmission
from governance.smoke_tests import pages as smoke_tests
from tenancy.console.base import holds_anywhere
from tenancy.console.template_tags import denial_of

__all__ = ["ExecutionAdmin", "campaigns", "pipeline_page", "release_page", "requests", "smoke_tests"]

Kind = Campaign.Kind
ICONS = {Kind.REDRIVE: "replay", Kind.RESUBMIT: "redo", Kind.PAUSE: "pause", Kind.CANCEL: "cancel"}
"""The acts on many executions, each with its icon."""


@admin.register(Execution)
class ExecutionAdmin(ExecutionColumns, ExecutionPages):
    empty = "Submit executions with the REST API or the command line, once a release is active."
    list_display = shown(columns.DEFAULT)
    list_display_links = None
    change_list_template = "executions/execution_list.html"
    act = selection_pages.act
    resubmit = resubmission.show
    export = export
    save_view = save_view
    remove_view = remove_view

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ExecutionList]:
        return ExecutionList

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        names = shown(SearchRequest.of(request).columns)
        return names if may_act(request) else tuple(name for name in names if name != "select")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        tidy = tidy_query(request.GET)
        if COLUMNS in request.GET and tidy != request.GET.urlencode():  # the form sends every field
            return redirect(f"{request.path}?{tidy}")
        requested = SearchRequest.of(request)
        more = {
            "requested": requested,
            "fields": list(fields(requested)),
            "columns": columns_of(requested),
            "acts": acts(request),
            "may_act": may_act(request),
            "tabs": tabs(requested),
            "most_exported": columns.MOST,
        }
        response = super().changelist_view(request, {**more, **(extra_context or {})})
        if requested.problem:
            response.status_code = requested.problem.status
        return response


def may_act(request: HttpRequest) -> bool:
    """True if the user may do one of the acts on many executions."""
    return any(all(holds_anywhere(request, scope) for scope in scopes_of(kind)) for kind in ICONS)


def acts(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the acts on many executions, each with the reason why the user may not do it, or ""."""
    filters = []
    for kind, icon in ICONS.items():
        denials = [denial_of(scope) for scope in scopes_of(kind) if not holds_anywhere(request, scope)]
        filters.append(
            {"name": kind.value, "label": VERBS[kind], "icon": icon, "why_not": denials[0] if denials else ""}
        )
    return filters
