"""What all requests need, the stack of the API, and headers that restrict pages.

The first middleware serves requests to the API without the rest of MIDDLEWARE, which guards pages (ADR 88).

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
from functools import lru_cache, partial
from io import BytesIO
from typing import Any, Final

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase, ResponseHeaders
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.template import Engine
from django.template.response import SimpleTemplateResponse
from django.urls import get_resolver, reverse

from foundation.api import bodies
from foundation.telemetry import traces
from foundation.telemetry.metrics import Counter, Histogram
from releases.artifacts.store import artifact_store
from releases.errors import ArtifactStoreUnavailable
from tenancy.origin import Origin, serving
from wire import log_lines
from wire.traceparent import trace_id

Handler = Callable[[HttpRequest], HttpResponseBase]
REQUEST_ID: Final = "X-Request-ID"
RETRY_SECONDS: Final = 5
MOST_KNOWN: Final = 1000
"""How many paths the stack of the API finds views for only once, and how many hosts it checks only once."""
API: Final = ("/api/v1/", "/tpf/", "/pipeline/")
"""How the paths of the API and of the compatibility surface begin."""
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


def every_request(get_response: Handler) -> Handler:
    """Do in one pass what all requests need. The rest of MIDDLEWARE serves pages only.

    Take the id of the request from `X-Request-ID` if that is a token of up to 64 letters, digits, dots, underscores and
    hyphens. Otherwise make a new one. The response has the id in the same header, the audit log has it with the
    client's address, and log lines have it with what the path names. The fields of log lines are computed for each
    line, so a request without one pays next to nothing.

    Return the memory that the body reserved. Add `Retry-After` to every 503. Count the request and measure it.
    """
    serve_api = _api_stack()

    def respond(request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        received = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = received if _TOKEN.fullmatch(received) else str(uuid.uuid4())
        fields = partial(_fields, request, request_id)
        serve = serve_api if request.path_info.startswith(API) else get_response
        # Set here and not by context managers, which would cost ten calls.
        origin, lines = serving.set(Origin(request_id, request.META)), log_lines.fields.set((fields,))
        try:
            response = serve(request)
        finally:
            serving.reset(origin)
            log_lines.fields.reset(lines)
            bodies.give_back()
        response.headers._store["x-request-id"] = REQUEST_ID, request_id
        if response.status_code >= 400:
            # The handler writes a line about it. A reference to `fields` would be a cycle, which lives until garbage
            # is collected.
            request.log_fields = fields()  # type: ignore[attr-defined]
        if response.status_code == 503:
            response.headers.setdefault("Retry-After", str(RETRY_SECONDS))
        surface = SURFACES.get(request.path_info[1:].partition("/")[0], "other")
        requests.add(surface, f"{response.status_code // 100}xx")
        request_time.observe(surface, amount=time.perf_counter() - begun)
        return response

    return respond


def _fields(request: HttpRequest, request_id: str) -> Mapping[str, Any]:
    named = request.resolver_match.kwargs if request.resolver_match else {}
    return {
        "requestId": request_id,
        "traceId": trace_id(traces.current()),
        **{LOG_FIELDS[name]: value for name, value in named.items() if name in LOG_FIELDS},
    }


def _api_stack() -> Handler:
    """Return what serves a request to the API: the guards of MIDDLEWARE that concern programs, and then the view.

    They redirect to HTTPS, check the host, and add headers. The API reads no cookies, so it has no session, user or
    CSRF token to guard. Errors become responses as in Django's own handler.
    """
    security = SecurityMiddleware(lambda _: HttpResponse())
    constant = {secure: _constant_headers(security, secure)._store for secure in (False, True)}
    resolve = lru_cache(MOST_KNOWN)(get_resolver().resolve)
    origins: dict[tuple[str, bool], str] = {}

    def require_host(request: HttpRequest, secure: bool) -> None:
        """Raise DisallowedHost, or tell the request its own address, which its links begin with."""
        place = request.META.get("HTTP_HOST", ""), secure
        if known := origins.get(place):
            request._current_scheme_host = known  # type: ignore[attr-defined]
            return
        address = request._current_scheme_host  # type: ignore[attr-defined]
        if place[0] and len(origins) < MOST_KNOWN:
            origins[place] = address

    def answer(request: HttpRequest) -> HttpResponseBase:
        if security.redirect and (redirect := security.process_request(request)):
            return redirect
        require_host(request, request.is_secure())
        match = request.resolver_match = resolve(request.path_info)
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        return response.render() if isinstance(response, SimpleTemplateResponse) else response

    always_answer: Any = convert_exception_to_response(answer)

    def respond(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = always_answer(request)
        # `setdefault` and the like would cost more calls than the rest of this function.
        stored = response.headers._store
        if isinstance(response, HttpResponse) and "content-length" not in stored:
            stored["content-length"] = "Content-Length", str(len(response.content))
        response.headers._store = {**constant[request.is_secure()], **stored}
        return response

    return respond


def _constant_headers(security: SecurityMiddleware, secure: bool) -> ResponseHeaders:
    """Return the headers that the middleware of pages adds to a response outside of the admin."""
    scheme = "https" if secure else "http"
    request = WSGIRequest({"REQUEST_METHOD": "GET", "wsgi.url_scheme": scheme, "wsgi.input": BytesIO()})
    response = HttpResponse()
    XFrameOptionsMiddleware(lambda _: response).process_response(request, response)
    security.process_response(request, response)
    headers = security_headers(lambda _: response)(request).headers
    del headers["Content-Type"]
    return headers


PAGE_FRAME_SLOTS = 2**14
"""The size of the outermost frame of a page, so that its memory has room for all frames inside it.

Python keeps frames in chunks of 16 KiB, or more if a frame is larger. It maps a new chunk for a call that finds no
room, and unmaps it when the call returns. A loop in a template that ends up there takes three times the CPU time, or
more (https://github.com/python/cpython/issues/142183). The large frame itself is not written, so it takes no memory.
"""
UPLOAD_PAGE = "admin:releases_release_upload"
PASSKEY_PAGES = frozenset({"second_factor", "add_passkey"})
PERMISSIONS, PERMISSIONS_OF_PASSKEYS = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(),"
    f" publickey-credentials-create={passkeys}, publickey-credentials-get={passkeys}, screen-wake-lock=(), serial=(),"
    " usb=(), xr-spatial-tracking=()"
    for passkeys in ("()", "(self)")
)


def security_headers(get_response: Handler) -> Handler:
    strict, admin = _strict_policy(), reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        policy, page = strict, ""
        if request.path.startswith(admin):
            page = request.resolver_match.view_name if request.resolver_match else ""
            policy = _admin_policy(_store_origins() if page == UPLOAD_PAGE else ())
        response.headers["Content-Security-Policy"] = policy
        response.headers["Permissions-Policy"] = PERMISSIONS_OF_PASSKEYS if page in PASSKEY_PAGES else PERMISSIONS
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    respond.__code__ = respond.__code__.replace(co_stacksize=PAGE_FRAME_SLOTS)
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
