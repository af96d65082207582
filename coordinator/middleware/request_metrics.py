"""Middleware: counts requests and measures how long they take."""

import time
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from foundation.telemetry.metrics import Counter, Histogram

SURFACES: Final = {"api": "api", "admin": "admin", "tpf": "tpf", "health": "health", "metrics": "metrics"}
requests: Final = Counter(
    "coordinator_http_requests_total", "Requests by surface and class of the status.", ("surface", "status")
)
request_time: Final = Histogram(
    "coordinator_http_request_seconds", "Time until the response was ready. Streams may take longer.", ("surface",)
)


def request_metrics(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def respond(request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        response = get_response(request)
        surface = SURFACES.get(request.path_info[1:].partition("/")[0], "other")
        requests.add(surface, f"{response.status_code // 100}xx")
        request_time.observe(surface, amount=time.perf_counter() - begun)
        return response

    return respond
