"""Middleware for the admin's pages: their addresses contain no U+0000, and they show times in the user's zone."""

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from tenancy.preferences import zone_of

Handler = Callable[[HttpRequest], HttpResponseBase]
NUL = "\0"


def without_nul(get_response: Handler) -> Handler:
    """Keep U+0000 out of the admin's queries, because PostgreSQL rejects it.

    The response to a path that contains it is 404. It is removed from the values of the query string.
    """
    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(admin):
            if NUL in request.path_info:
                raise Http404
            if any(NUL in value for _, values in request.GET.lists() for value in values):
                query: Any = request.GET.copy()
                for name, values in request.GET.lists():
                    query.setlist(name, [value.replace(NUL, "") for value in values])
                request.GET = query
        return get_response(request)

    return respond


def time_zones(get_response: Handler) -> Handler:
    """Activate the zone that the user has chosen, until the response is rendered."""
    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(admin) or not request.user.is_authenticated:
            return get_response(request)
        with timezone.override(zone_of(request.user)):
            return get_response(request)

    return respond
