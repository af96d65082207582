"""Middleware for all requests: ids, fields of log lines, metrics, `Retry-After`, and headers that restrict pages.

Outside the admin, pages load nothing and run no scripts. Pages of the admin run only the coordinator's own script
files. Unfold's Alpine.js and htmx evaluate expressions in templates, which needs 'unsafe-eval'. Unfold writes its
colours into the page, which needs inline styles. Django adds the other headers: see SECURE_* in the settings.
"""

import hashlib
import re
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template import Engine
from django.urls import reverse

from foundation.telemetry import traces
from foundation.telemetry.metrics import Counter, Histogram
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactStoreUnavailable
from tenancy import origin
from tenancy.origin import Origin, serving
from wire.log_lines import bound
from wire.traceparent import trace_id

Handler = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID: Final = "X-Request-ID"
RETRY_SECONDS: Final = 5
SURFACES: Final = {"api": "api", "admin": "admin", "tpf": "tpf", "health": "health", "metrics": "metrics"}
LOG_FIELDS: Final = {
    "tenant": "tenant",
    "pipeline_id": "pipeline",
    "release_version": "release",
    "execution_id": "execution",
}
"""The fields that the parameters of an address fill."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
requests: Final = Counter(
    "coordinator_http_requests_total", "Requests by surface and class of the status.", ("surface", "status")
)
request_time: Final = Histogram(
    "coordinator_http_request_seconds", "Time until the response was ready. Streams may take longer.", ("surface",)
)


def request_metrics(get_response: Handler) -> Handler:
    """Count requests and measure how long they take."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        response = get_response(request)
        surface = SURFACES.get(request.path_info[1:].partition("/")[0], "other")
        requests.add(surface, f"{response.status_code // 100}xx")
        request_time.observe(surface, amount=time.perf_counter() - begun)
        return response

    return respond


def request_origin(get_response: Handler) -> Handler:
    """Give each request an id, and tell the audit log where acts come from.

    Take the id from `X-Request-ID` if that is a token of up to 64 letters, digits, dots, underscores and hyphens.
    Otherwise make a new one. The response has the id in the same header.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        received = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = received if _TOKEN.fullmatch(received) else str(uuid.uuid4())
        with serving(Origin(request_id, request.META)):
            response = get_response(request)
        response.headers[REQUEST_ID] = request_id
        return response

    return respond


def log_fields(get_response: Handler) -> Handler:
    """Give the log lines of a request its id, and what its address names.

    The fields are computed for each line, so a request without one pays next to nothing.
    """

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
        **{LOG_FIELDS[name]: value for name, value in named.items() if name in LOG_FIELDS},
    }


def retry_after(get_response: Handler) -> Handler:
    """Add `Retry-After` to every 503."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if response.status_code == 503:
            response.headers.setdefault("Retry-After", str(RETRY_SECONDS))
        return response

    return respond


UPLOAD_PAGE = "admin:releases_release_upload"
PERMISSIONS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(),"
    " publickey-credentials-get=(), screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()"
)


def security_headers(get_response: Handler) -> Handler:
    strict, admin = _strict_policy(), reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        policy = strict
        if request.path.startswith(admin):
            match = request.resolver_match
            policy = _admin_policy(_store_origins() if match and match.view_name == UPLOAD_PAGE else ())
        response.headers["Content-Security-Policy"] = policy
        response.headers["Permissions-Policy"] = PERMISSIONS
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    return respond


def _strict_policy() -> str:
    """Return a policy that allows only the inline style of the error pages, by its digest."""
    page = Engine.get_default().get_template("parts/failure.html").source
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'none'; {_ENDING}"


def _admin_policy(connections: Sequence[str]) -> str:
    connect = " ".join(("'self'", *connections))
    return (
        "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; font-src 'self'; connect-src {connect}; form-action 'self'; {_ENDING}"
    )


_ENDING = "base-uri 'none'; frame-ancestors 'none'"


def _store_origins() -> list[str]:
    """Return the origins to which the upload page sends parts of large files; none if the store cannot tell."""
    direct = artifact_store().direct
    try:
        return direct.origins() if direct else []
    except ArtifactStoreUnavailable:
        return []
