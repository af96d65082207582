"""Filters of lists, taken literally: a name that there is not, or a value that is empty, is refused."""

from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from foundation.api.pagination import NewestFirst

PAGING = {NewestFirst.cursor_query_param, NewestFirst.page_size_query_param}


class StrictFilters(DjangoFilterBackend):
    """Whoever misspells a filter, or has nothing to fill in, must not be shown everything instead."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        filters = self.get_filterset_class(view, queryset)
        names = PAGING | set(filters.base_filters if filters else ())
        wrong = {
            name: ErrorDetail("there is no such parameter", code="unknown_parameter")
            for name in sorted(request.query_params.keys() - names)
        }
        empty = sorted(name for name in names if request.query_params.get(name) == "")
        wrong |= {name: ErrorDetail("must not be empty", code="blank") for name in empty}
        if wrong:
            raise ValidationError(wrong)
        return super().filter_queryset(request, queryset, view)
