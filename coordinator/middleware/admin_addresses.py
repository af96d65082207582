"""Middleware for the admin's URLs."""

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

NUL = "\0"


def without_nul(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Keep U+0000 out of the admin's queries, because PostgreSQL rejects it.

    The response to a path that contains it is 404. It is removed from the values of the query string.
    """

    admin = reverse("admin:index")

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith(admin):
            if NUL in request.path_info:
                raise Http404
            if any(NUL in value for _, values in request.GET.lists() for value in values):
                query: Any = request.GET.copy()
                for name, values in request.GET.lists():
                    query.setlist(name, [value.replace(NUL, "") for value in values])
                request.GET = query
        return get_response(request)

    return middleware
