"""The download of the executions that match a search."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from executions.admin.execution_search import SearchRequest
from executions.search import columns
from foundation.api.streaming import streamed_file
from foundation.errors import CoordinatorError
from foundation.exports import FORMATS
from tenancy.admin.base import ReadOnlyAdmin


def view(pages: ReadOnlyAdmin) -> Callable[..., HttpResponseBase]:
    """Return the view that exports what the query of its address selects. A problem is shown on the list."""

    def export(request: HttpRequest, form: str) -> HttpResponseBase:
        if not pages.has_view_permission(request) or form not in FORMATS:
            raise Http404
        requested = SearchRequest.of(request)
        try:
            if requested.problem:
                raise requested.problem
            lines: Any = columns.lines(requested.rows(), requested.columns, form)
            return streamed_file(request, lines, media_type=FORMATS[form], filename=f"executions.{form}")
        except CoordinatorError as problem:
            messages.error(request, problem.detail)
            return redirect(f"{reverse('admin:executions_execution_changelist')}?{requested.query_string}")

    return export
