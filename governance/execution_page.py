"""The list of executions: its search, columns, saved views, exports, and acts on many rows. Adds resubmissions.

`executions.console.execution_page` has the page of one execution.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from executions import columns
from executions.console import execution_views
from executions.console.execution_list import ExecutionColumns, columns_of, export, fields
from executions.console.execution_page import ExecutionPages
from executions.console.execution_search import COLUMNS, ExecutionList, SearchRequest, tidy_query
from executions.models import Campaign, Execution
from governance.campaigns import selection_pages
from governance.campaigns.draft_pages import VERBS, scopes_of
from governance.resubmission import pages as resubmission
from tenancy.admin.base import holds_anywhere
from tenancy.admin.template_tags import denial_of

Kind = Campaign.Kind
ICONS = {Kind.REDRIVE: "replay", Kind.RESUBMIT: "redo", Kind.PAUSE: "pause", Kind.CANCEL: "cancel"}
"""The acts on many executions, each with its icon."""


@admin.register(Execution)
class ExecutionAdmin(ExecutionColumns, ExecutionPages):
    empty = "Submit executions with the REST API or the command line, once a release is active."
    list_display = ("select", *(ExecutionColumns.METHODS[name] for name in columns.DEFAULT))
    list_display_links = None
    change_list_template = "executions/execution_list.html"
    act = selection_pages.act
    resubmit = resubmission.show
    export = export
    save_view = execution_views.save
    remove_view = execution_views.remove

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ExecutionList]:
        return ExecutionList

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return ("select", *(self.METHODS[name] for name in SearchRequest.of(request).columns))

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
            "tabs": list(execution_views.tabs(requested)),
            "most_exported": columns.MOST,
        }
        response = super().changelist_view(request, {**more, **(extra_context or {})})
        if requested.problem:
            response.status_code = requested.problem.status
        return response


def acts(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the acts on many executions, each with the reason why the user may not do it, or ""."""
    found = []
    for kind, icon in ICONS.items():
        denials = [denial_of(scope) for scope in scopes_of(kind) if not holds_anywhere(request, scope)]
        found.append({"name": kind.value, "label": VERBS[kind], "icon": icon, "why_not": denials[0] if denials else ""})
    return found
