"""The site of the admin, which records the requests that its pages deny."""

from collections.abc import Callable
from functools import cached_property, wraps
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.module_loading import import_string
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


SETTINGS: Final = frozenset({"site_title", "site_header", "site_url"})
"""What unfold reads from the settings instead of the attributes of the site."""


class Site(UnfoldAdminSite):
    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self._settings: dict[str, Any] = {}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the log-in with a password, and what the settings add: an identity provider, and the second factor."""
        shown = dict(extra_context or {})
        if settings.OIDC_ISSUER:
            begin = reverse("openid_connect_login", args=[settings.OIDC_PROVIDER])
            following = urlencode({"next": request.GET.get("next", reverse("admin:index"))})
            shown |= {"identity_provider": settings.OIDC_NAME, "identity_provider_url": f"{begin}?{following}"}
        response: HttpResponse
        if not settings.SECOND_FACTOR:
            response = super().login(request, shown)
            return response
        from tenancy.sign_in import second_factor_pages as second  # it loads allauth

        self.login_form = second.PasswordForm
        try:
            response = super().login(request, {**shown, "has_second_factor": True})
        except second.SecondFactorRequired as needed:
            response = second.begin(request, needed.user)
        return response

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        return super().admin_view(recording(view), cacheable)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the frame of each page shows. What unfold reads from the settings is read once.

        The palette is in admin.css and not in each page.
        """
        context = AdminSite.each_context(self, request)
        if not self._settings:
            shown = {**super().each_context(request), "colors": None}
            of_request = context.keys() - SETTINGS
            self._settings = {name: value for name, value in shown.items() if name not in of_request}
        menu = self._menu if context["has_permission"] else {}
        return {**context, **self._settings, **{name: show(request) for name, show in menu.items()}}

    def get_sidebar_list(self, request: HttpRequest) -> Any:
        """Return nothing: each page gets its sidebar as HTML."""
        return []

    @cached_property
    def _menu(self) -> dict[str, Callable[[HttpRequest], Any]]:
        """Return what shows the menu and its tabs, by the name of the variable of templates."""
        functions = self._get_config("SIDEBAR")
        return {
            "sidebar_navigation": import_string(functions["navigation"]),
            "menu_tabs": import_string(functions["tabs"]),
        }

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
