"""The two addresses of a sign-in with the identity provider: where it begins, and where the provider sends people back.

Only allauth's views for OpenID Connect are used. Its other pages are not reachable.
"""

import logging
from collections.abc import Callable

import requests
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.openid_connect.views import callback as openid_callback
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from tenancy.login import Attempt
from tenancy.origin import client_address
from tenancy.sign_in.adapters import FAILED, failure_page

log = logging.getLogger(__name__)


@never_cache
@require_GET
def begin(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Redirect to the provider. It counts as a failed log-in of the address until the person returns.

    Only `next` is read. Raises `LoginThrottled`. This is a GET, because the admin's Content-Security-Policy forbids
    forms that lead elsewhere. It changes nothing but the browser's own anonymous session.
    """
    Attempt(None, client_address(request.META)).count()
    target = request.GET.get("next", "")
    if not url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure()):
        target = ""
    provider = get_adapter().get_provider(request, settings.OIDC_PROVIDER)
    return _guarded(request, lambda: provider.redirect(request, AuthProcess.LOGIN, next_url=target or None))


@never_cache
@require_GET
def complete(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    return _guarded(request, lambda: openid_callback(request, settings.OIDC_PROVIDER))


def _guarded(request: HttpRequest, respond: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """Show a page if the provider cannot be called, or if its documents lack a member that allauth needs."""
    try:
        return respond()
    except (requests.RequestException, KeyError) as error:
        log.warning("the identity provider cannot be used: %s: %s", type(error).__name__, error)
        return failure_page(request, FAILED, status=502)


urlpatterns = [
    path(f"admin/sign-in/<slug:provider_id>/{address}", view, name=f"openid_connect_{name}")
    for address, view, name in (("login/", begin, "login"), ("callback/", complete, "callback"))
]
