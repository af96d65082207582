"""Middleware: gives each request an id, and tells the audit log where acts come from."""

import re
import uuid
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from tenancy.audit.origin import Origin, serving

HEADER = "X-Request-ID"
TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def request_origin(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Take the id from `X-Request-ID` if that is a token of up to 64 letters, digits, dots, underscores and hyphens.

    Otherwise make a new one. The response has the id in the same header.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        received = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = received if TOKEN.fullmatch(received) else str(uuid.uuid4())
        with serving(Origin(request_id, request.META)):
            response = get_response(request)
        response.headers[HEADER] = request_id
        return response

    return respond
