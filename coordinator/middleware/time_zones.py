"""Middleware: pages of the admin show times in the user's zone."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from tenancy.preferences import zone_of


def time_zones(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Activate the zone that the user has chosen, until the response is rendered."""
    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(admin) or not request.user.is_authenticated:
            return get_response(request)
        with timezone.override(zone_of(request.user)):
            return get_response(request)

    return respond
