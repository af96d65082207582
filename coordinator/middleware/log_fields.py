"""Middleware: gives the log lines of a request its id, and what its address names."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from foundation.telemetry import traces
from tenancy.audit import origin
from wire.log_lines import bound
from wire.traceparent import trace_id

FIELDS = {
    "tenant": "tenant",
    "pipeline_id": "pipeline",
    "release_version": "release",
    "execution_id": "execution",
}
"""The fields that the parameters of an address fill."""


def log_fields(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Bind the fields of a request. They are computed for each line, so a request without one pays next to nothing."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        fields = partial(_fields, request, origin.current().request_id)
        request.log_fields = fields  # type: ignore[attr-defined]
        with bound(fields):
            return get_response(request)

    return respond


def _fields(request: HttpRequest, request_id: str) -> Mapping[str, Any]:
    named = request.resolver_match.kwargs if request.resolver_match else {}
    return {
        "requestId": request_id,
        "traceId": trace_id(traces.current()),
        **{FIELDS[name]: value for name, value in named.items() if name in FIELDS},
    }
