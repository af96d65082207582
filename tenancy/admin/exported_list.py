"""Lists that can be downloaded: what the search and the filters select, as CSV and JSON lines."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from foundation import exports
from foundation.api.streaming import streamed_file
from foundation.database.bounded import in_chunks
from foundation.errors import CoordinatorError

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin

MOST: Final = 100_000
"""How many rows an export may have."""
CHUNK: Final = 2000
Cell = Callable[[Any], Any]


class ExportedList(_ModelAdmin):
    """A list that says how many rows match, and offers them as files. `exported` has the cells of a row by name."""

    exported: ClassVar[Mapping[str, Cell]] = {}
    file_name: ClassVar[str]
    list_before_template = "tenancy/list_head.html"

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/<str:form>/", self.admin_site.admin_view(self.export), name=name), *super().get_urls()]

    def export(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Return the rows that the query of the list selects, as a file. A problem is shown on the list."""
        if not self.has_view_permission(request) or form not in exports.FORMATS:
            raise Http404
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            raise Http404 from None
        try:
            lines = self.export_lines(rows, form)
            return streamed_file(request, lines, media_type=exports.FORMATS[form], filename=f"{self.file_name}.{form}")
        except CoordinatorError as problem:
            messages.error(request, problem.detail)
            address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
            return redirect(f"{address}?{request.GET.urlencode()}")

    def export_lines(self, rows: QuerySet[Any], form: str) -> Iterator[bytes]:
        """Yield the lines of the file. Raises `ExportTooLarge`."""
        found = exports.at_most(MOST, in_chunks(rows, CHUNK))
        values = ({name: _plain(cell(row)) for name, cell in self.exported.items()} for row in found)
        return exports.lines(tuple(self.exported), values, form)


def _plain(value: Any) -> Any:
    """Return times as RFC 3339 in UTC."""
    return value.astimezone(UTC).isoformat(timespec="seconds") if isinstance(value, datetime) else value
