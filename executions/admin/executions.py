"""The list of executions: its search, columns, saved views, exports, and acts on many rows.

`executions.admin.execution_page` has the page of one execution.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern
from unfold.paginator import InfinitePaginator

from executions.admin import execution_acts, execution_export, execution_form, execution_views
from executions.admin.execution_columns import ExecutionColumns
from executions.admin.execution_page import ExecutionPages
from executions.admin.execution_search import COLUMNS, ExecutionList, SearchRequest, tidy_query
from executions.models import Execution
from executions.search import columns


@admin.register(Execution)
class ExecutionAdmin(ExecutionColumns, ExecutionPages):
    empty = "Submit executions with the REST API or the command line, once a release is active."
    list_display = ("select", *(ExecutionColumns.METHODS[name] for name in columns.DEFAULT))
    list_display_links = None
    list_per_page = 50
    change_list_template = "executions/execution_list.html"
    paginator = InfinitePaginator
    show_full_result_count = False
    sortable_by = ()

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
            "fields": list(execution_form.fields(requested)),
            "columns": execution_form.columns_of(requested),
            "acts": execution_form.acts(request),
            "tabs": list(execution_views.tabs(requested)),
            "most_exported": columns.MOST,
        }
        response = super().changelist_view(request, {**more, **(extra_context or {})})
        if requested.problem:
            response.status_code = requested.problem.status
        return response

    def own_urls(self) -> list[URLPattern]:
        return [
            self.own("act/<str:kind>/", "act", execution_acts.view(self)),
            self.own("export/<str:form>/", "export", execution_export.view(self)),
            self.own("views/", "save_view", execution_views.saving(self)),
            self.own("views/<int:view_id>/remove/", "remove_view", execution_views.removing(self)),
            *super().own_urls(),
        ]
