"""Cursor pages: stable under concurrent inserts, and as fast on the last page as on the first."""

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, Q
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from foundation.errors import InvalidRequest

PAGE_SIZE = re.compile("[0-9]{1,4}")


def _refused(name: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {rule}", errors=[{"field": name, "code": "INVALID", "message": rule}])


def _unknown_cursor() -> InvalidRequest:
    return _refused("cursor", "is none that this coordinator gave out")


class NewestFirst(CursorPagination):
    """Newest first, or in the order of `ordering`, whose fields all lead one way and are unique together.

    `items` holds the page; `next` and `previous` are whole URLs or null.

    Raises `InvalidRequest` for a page size that is none, and for a cursor that was never given out.
    """

    ordering: Any = "-id"
    page_size = 50
    max_page_size = 500
    page_size_query_param = "pageSize"

    def get_page_size(self, request: Request) -> int:
        asked = request.query_params.get(self.page_size_query_param)
        if asked is None:
            return self.page_size
        # Four digits hold every size there is; beyond them int() would have to read whatever somebody sends.
        size = int(asked) if PAGE_SIZE.fullmatch(asked) else 0
        if not 1 <= size <= self.max_page_size:
            raise _refused(self.page_size_query_param, f"must be a whole number from 1 to {self.max_page_size}")
        return size

    def decode_cursor(self, request: Request) -> Any:
        try:
            # What is no base64 would be read as the part of it that is.
            base64.b64decode(request.query_params.get(self.cursor_query_param, ""), validate=True)
            return super().decode_cursor(request)
        except (NotFound, ValueError):
            raise _unknown_cursor() from None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        self.base_url = request.build_absolute_uri()
        self.cursor = self.decode_cursor(request)
        size = self.get_page_size(request)
        names = [self.ordering] if isinstance(self.ordering, str) else list(self.ordering)
        backwards = self.cursor is not None and self.cursor.reverse
        self._fields = [name.lstrip("-") for name in names]
        descending = names[0].startswith("-") is not backwards
        rows = queryset.order_by(*(f"-{name}" if descending else name for name in self._fields))
        if self.cursor is None or not self.cursor.position:
            found = list(rows[: size + 1])
        else:
            try:
                values = self._values(queryset.model, self.cursor.position)
                found = list(rows.filter(self._beyond(values, descending))[: size + 1])
            except (TypeError, ValueError, OverflowError, RecursionError, ValidationError):
                # The position in the cursor is not even of the columns' types: it was forged.
                raise _unknown_cursor() from None
        self.page = found[:size]
        more = len(found) > size
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
        """What comes after a position, of which every part counts: many rows may share the first ones.

        The first part stands once more on its own, so that an index finds where to begin.
        """
        side = "lt" if descending else "gt"
        parts = dict(zip(self._fields, values, strict=True))
        beyond = Q()
        for number, name in enumerate(self._fields):
            equal = {before: parts[before] for before in self._fields[:number]}
            beyond |= Q(**equal, **{f"{name}__{side}": parts[name]})
        return Q(**{f"{self._fields[0]}__{side}e": values[0]}) & beyond

    def _link(self, row: Any, *, reverse: bool) -> str:
        # Beyond an empty page lies what lay before its own position.
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
        told = {
            self.cursor_query_param: ("From the address in `next` or `previous` of another page.", {"type": "string"}),
            self.page_size_query_param: ("How many items a page holds at most.", size),
        }
        return [
            {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
            for name, (description, schema) in told.items()
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["items", "next", "previous"],
            "properties": {"items": schema, "next": link, "previous": link},
        }
