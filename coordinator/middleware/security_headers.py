"""Middleware: response headers that restrict what a page may load and run, and which browser features it may use.

Outside the admin, pages load nothing and run no scripts. Pages of the admin run only the coordinator's own script
files. Unfold's Alpine.js and htmx evaluate expressions in templates, which needs 'unsafe-eval'. Unfold writes its
colours into the page, which needs inline styles. Django adds the other headers: see SECURE_* in the settings.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Sequence

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template import Engine
from django.urls import reverse

from releases.artifacts.store import artifact_store
from releases.errors import ArtifactStoreUnavailable

Handler = Callable[[HttpRequest], HttpResponseBase]
UPLOAD_PAGE = "admin:releases_release_upload"
UNUSED_FEATURES = (
    *("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "microphone", "midi", "payment"),
    *("publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking"),
)
PERMISSIONS = ", ".join(f"{feature}=()" for feature in UNUSED_FEATURES)


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
