"""Lists: cursor pagination and filters.

Concurrent inserts do not shift pages, and the last page is as fast as the first. Filters reject unknown names and empty
values.
"""

import base64
import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError as InvalidValue
from django.db.models import Model, Q
from django_filters.rest_framework import DjangoFilterBackend, Filter, TypedChoiceFilter
from drf_spectacular.drainage import set_override
from rest_framework.exceptions import ErrorDetail, NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.api.fields import Moment
from foundation.errors import InvalidRequest

PAGE_SIZE = re.compile("[0-9]{1,4}")


def _refused(name: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {rule}", errors=[{"field": name, "code": "INVALID", "message": rule}])


def _unknown_cursor() -> InvalidRequest:
    return _refused("cursor", "must be a cursor from `next` or `previous` of a page")


class NewestFirst(CursorPagination):
    """Pages with the newest items first, or in the order of `ordering`, of the view or of this class.

    The fields of `ordering` must all be ascending or all descending, and unique together. In a response, `items` is the
    page, and `next` and `previous` are absolute URLs or null.

    Raises `InvalidRequest` for an invalid page size or cursor.
    """

    ordering: Any = "-id"
    page_size = 50
    max_page_size = 500
    page_size_query_param = "pageSize"

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        # The length is limited, because int() is slow for very long numbers.
        size = int(text) if PAGE_SIZE.fullmatch(text) else 0
        if not 1 <= size <= self.max_page_size:
            raise _refused(self.page_size_query_param, f"must be a whole number from 1 to {self.max_page_size}")
        return size

    def decode_cursor(self, request: Request) -> Any:
        try:
            # Without `validate`, the decoder ignores characters that are not base64.
            base64.b64decode(request.query_params.get(self.cursor_query_param, ""), validate=True)
            return super().decode_cursor(request)
        except (NotFound, ValueError):
            raise _unknown_cursor() from None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        self.base_url = request.build_absolute_uri()
        self.cursor = self.decode_cursor(request)
        size = self.get_page_size(request)
        ordering = getattr(view, "ordering", self.ordering)
        names = [ordering] if isinstance(ordering, str) else list(ordering)
        backwards = self.cursor is not None and self.cursor.reverse
        self._fields = [name.lstrip("-") for name in names]
        descending = names[0].startswith("-") is not backwards
        rows = queryset.order_by(*(f"-{name}" if descending else name for name in self._fields))
        if self.cursor is None or not self.cursor.position:
            page = list(rows[: size + 1])
        else:
            try:
                values = self._values(queryset.model, self.cursor.position)
                page = list(rows.filter(self._beyond(values, descending))[: size + 1])
            except (TypeError, ValueError, OverflowError, RecursionError, InvalidValue):
                # The values in the cursor do not have the types of the columns: the cursor is forged.
                raise _unknown_cursor() from None
        self.page = page[:size]
        more = len(page) > size
        if backwards:
            self.page.reverse()
        self.has_next, self.has_previous = (True, more) if backwards else (more, self.cursor is not None)
        return self.page

    def _values(self, model: type[Model], position: Any) -> list[Any]:
        """Return the values of the fields in a position. Raises an error if `_link` cannot have written it."""
        texts = json.loads(position)
        complete = isinstance(texts, list) and len(texts) == len(self._fields)
        if not complete or not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("malformed position")
        fields: list[Any] = [model._meta.get_field(name) for name in self._fields]
        values = [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
        return [value.astimezone(UTC) if isinstance(value, datetime) else value for value in values]

    def _beyond(self, values: list[Any], descending: bool) -> Q:
        """Return the condition for rows after a position. It compares all fields, as rows may share the first ones.

        A separate condition on the first field lets an index find the first row.
        """
        side = "lt" if descending else "gt"
        parts = dict(zip(self._fields, values, strict=True))
        beyond = Q()
        for number, name in enumerate(self._fields):
            equal = {before: parts[before] for before in self._fields[:number]}
            beyond |= Q(**equal, **{f"{name}__{side}": parts[name]})
        return Q(**{f"{self._fields[0]}__{side}e": values[0]}) & beyond

    def _link(self, row: Any, *, reverse: bool) -> str:
        # An empty page has no rows, so its links use the position in the request's cursor.
        position: Any = self.cursor and self.cursor.position
        if row is not None:
            position = json.dumps([str(getattr(row, name)) for name in self._fields])
        return str(self.encode_cursor(Cursor(offset=0, reverse=reverse, position=position)))

    def get_next_link(self) -> str | None:
        return self._link(self.page[-1] if self.page else None, reverse=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(self.page[0] if self.page else None, reverse=True) if self.has_previous else None

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"items": data, "next": self.get_next_link(), "previous": self.get_previous_link()})

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        parameters = {
            self.cursor_query_param: ("From the URL in `next` or `previous` of another page.", {"type": "string"}),
            self.page_size_query_param: ("The maximum number of items on a page.", size),
        }
        return [
            {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
            for name, (description, schema) in parameters.items()
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["items", "next", "previous"],
            "properties": {"items": schema, "next": link, "previous": link},
        }


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
    """Rejects unknown and empty filters, because ignoring them would return all items.

    A filter set that reads further parameters itself names the beginnings of their names as `prefixes`.
    """

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        filters = self.get_filterset_class(view, queryset)
        names = PAGING | set(filters.base_filters if filters else ())
        prefixes: tuple[str, ...] = getattr(filters, "prefixes", ())
        require_known(request, {*names, *(name for name in request.query_params if name.startswith(prefixes))})
        return super().filter_queryset(request, queryset, view)


class _MomentField(forms.Field):
    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        try:
            return Moment().to_internal_value(value)
        except ValidationError as error:
            raise InvalidValue(str(error.detail[0]), code="not_moment") from None  # type: ignore[index]  # it is a list


class MomentFilter(Filter):
    """A filter by an RFC 3339 time with an offset from UTC."""

    field_class = _MomentField


class FlagFilter(TypedChoiceFilter):
    def __init__(self, **options: Any) -> None:
        choices = [("true", "true"), ("false", "false")]
        super().__init__(choices=choices, coerce=lambda text: text == "true", empty_value=None, **options)
        describe(self, type="boolean")


def describe(each: Filter, **schema: Any) -> None:
    """Set the schema of a filter in the OpenAPI document, with the help of the filter as its description."""
    text = each.extra.get("help_text")
    set_override(each, "field", {**schema, **({"description": text} if text else {})})
