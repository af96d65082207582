"""List filters. Unknown names and empty values are rejected."""

from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from foundation.api.pagination import NewestFirst

PAGING = {NewestFirst.cursor_query_param, NewestFirst.page_size_query_param}


class StrictFilters(DjangoFilterBackend):
    """Rejects unknown and empty filters, because ignoring them would return all items."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        filters = self.get_filterset_class(view, queryset)
        names = PAGING | set(filters.base_filters if filters else ())
        errors = {
            name: ErrorDetail("is not a known parameter", code="unknown_parameter")
            for name in sorted(request.query_params.keys() - names)
        }
        empty = sorted(name for name in names if request.query_params.get(name) == "")
        errors |= {name: ErrorDetail("must not be empty", code="blank") for name in empty}
        if errors:
            raise ValidationError(errors)
        return super().filter_queryset(request, queryset, view)
