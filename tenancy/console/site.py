"""The site of the admin, which records the requests that its pages deny."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.csrf import csrf_failure
from unfold.sites import UnfoldAdminSite

from tenancy import audit
from tenancy.access import actor
from tenancy.audit.acts import Act, Denied, declared

View = Callable[..., HttpResponseBase]
REASONS: Final = {
    HTTPStatus.FORBIDDEN: "The user may not do this.",
    HTTPStatus.NOT_FOUND: "The user may not see this, or it does not exist.",
}


class Site(UnfoldAdminSite):
    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        return super().admin_view(recording(view), cacheable)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the frame of each page shows. The palette is in admin.css and not in each page."""
        return {**super().each_context(request), "colors": None}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the models of one application. No page lists all of them: the sidebar has its own navigation."""
        return super().get_app_list(request, app_label) if app_label else []


def recording(view: View) -> View:
    """Return the view of a page, which records what it denies with the status 403 or 404 (see `Declaration`).

    The entry is in the chain of the tenant whose role was not sufficient. Otherwise it is in that of the installation.
    """

    @wraps(view)
    def recorded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except PermissionDenied as denial:
            _record(request, view, HTTPStatus.FORBIDDEN, denial)
            raise
        except Http404 as denial:
            _record(request, view, HTTPStatus.NOT_FOUND, denial)
            raise
        if response.status_code in REASONS:
            _record(request, view, HTTPStatus(response.status_code))
        return response

    return recorded


def without_token(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Record a form without a valid CSRF token, and return the page that says so (CSRF_FAILURE_VIEW)."""
    is_page = request.path_info.startswith(reverse("admin:index"))
    if is_page and request.resolver_match and request.user.is_authenticated:
        _record(request, request.resolver_match.func, HTTPStatus.FORBIDDEN)
    return csrf_failure(request, reason)


def _record(request: HttpRequest, view: Any, status: HTTPStatus, denial: Exception | None = None) -> None:
    declaration = declared(view)
    if request.method == "POST" or (declaration and declaration.reads):
        act, tenant = (declaration and declaration.act) or Act.ADMIN_PAGE, None
        if isinstance(denial, Denied):
            act, tenant = denial.act, denial.tenant
        by, reason = actor(request.user), REASONS[status]
        audit.deny(act, tenant=tenant, actor=by, object_type="path", object=request.path, reason=reason)
