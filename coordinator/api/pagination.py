"""Cursor pages: stable under concurrent inserts, and as fast on the last page as on the first."""

import base64
import re
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from coordinator.errors import InvalidRequest

PAGE_SIZE = re.compile("[0-9]{1,4}")


def _refused(name: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {rule}", errors=[{"field": name, "code": "INVALID", "message": rule}])


def _unknown_cursor() -> InvalidRequest:
    return _refused("cursor", "is none that this coordinator gave out")


class NewestFirst(CursorPagination):
    """Newest first. `items` holds the page; `next` and `previous` are whole URLs or null.

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
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValueError, ValidationError):
            # The position in the cursor is not even of the column's type: it was forged.
            if self.cursor is None or self.cursor.position is None:
                raise
            raise _unknown_cursor() from None

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
