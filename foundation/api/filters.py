"""List filters. Unknown names and empty values are rejected."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError as FormError
from django_filters.rest_framework import DjangoFilterBackend, Filter, TypedChoiceFilter
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from foundation.api.fields import Moment
from foundation.api.pagination import NewestFirst

PAGING = {NewestFirst.cursor_query_param, NewestFirst.page_size_query_param}


def require_known(request: Request, names: Collection[str]) -> None:
    """Raise DRF's `ValidationError` if a query parameter is not in `names`, or is empty."""
    errors = {
        name: ErrorDetail("is not a known parameter", code="unknown_parameter")
        for name in sorted(request.query_params.keys() - set(names))
    }
    empty = sorted(name for name in names if request.query_params.get(name) == "")
    errors |= {name: ErrorDetail("must not be empty", code="blank") for name in empty}
    if errors:
        raise ValidationError(errors)


class StrictFilters(DjangoFilterBackend):
    """Rejects unknown and empty filters, because ignoring them would return all items."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        filters = self.get_filterset_class(view, queryset)
        names = PAGING | set(filters.base_filters if filters else ())
        require_known(request, names)
        return super().filter_queryset(request, queryset, view)


class _MomentField(forms.Field):
    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        try:
            return Moment().to_internal_value(value)
        except ValidationError as error:
            raise FormError(str(error.detail[0]), code="not_moment") from None  # type: ignore[index]  # it is a list


class MomentFilter(Filter):
    """A filter by an RFC 3339 time with an offset from UTC."""

    field_class = _MomentField


@extend_schema_field({"type": "boolean"})
class FlagFilter(TypedChoiceFilter):
    def __init__(self, **options: Any) -> None:
        choices = [("true", "true"), ("false", "false")]
        super().__init__(choices=choices, coerce=lambda text: text == "true", empty_value=None, **options)
