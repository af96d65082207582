"""Cursor pages: stable under concurrent inserts, and as fast on the last page as on the first."""

from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from coordinator.errors import InvalidRequest


def _unknown_cursor() -> InvalidRequest:
    message = "is none that this coordinator gave out"
    return InvalidRequest(f"The cursor {message}.", errors=[{"field": "cursor", "code": "INVALID", "message": message}])


class NewestFirst(CursorPagination):
    """Newest first. `items` holds the page; `next` and `previous` are whole URLs or null."""

    ordering: Any = "-id"
    page_size = 50
    max_page_size = 500
    page_size_query_param = "pageSize"

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except NotFound:
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

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["items", "next", "previous"],
            "properties": {"items": schema, "next": link, "previous": link},
        }
