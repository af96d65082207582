"""Middleware: adds `Retry-After` to every 503."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

SECONDS = 5


def retry_after(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if response.status_code == 503:
            response.headers.setdefault("Retry-After", str(SECONDS))
        return response

    return respond
