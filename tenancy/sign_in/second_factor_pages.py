"""The page that asks for the second factor after the password, and the one on which people turn it on and off."""

import time
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AuthenticationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from tenancy.audit.acts import Act, declares
from tenancy.login import Attempt, confirmed, has_password, limited
from tenancy.origin import client_address
from tenancy.sign_in import second_factor

PENDING: Final = "second_factor"
"""The member of the session between the password and the second factor: who, when, and where they go."""
NEW: Final = "new_second_factor"
"""The member of the session with the secret that the page shows until the second factor is on."""
PENDING_SECONDS: Final = 300
WRONG: Final = "The second factor is wrong."


class SecondFactorRequired(Exception):
    """The password is right, and the user has a second factor."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user


class PasswordForm(AuthenticationForm):
    def confirm_login_allowed(self, user: User) -> None:
        super().confirm_login_allowed(user)
        if second_factor.is_on(user):
            raise SecondFactorRequired(user)


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
        help_text="The six digits that your authenticator app shows, or one of your recovery codes.",
    )


class OwnForm(forms.Form):
    password = forms.CharField(
        max_length=4096, widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"})
    )


class TurnOnForm(OwnForm):
    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
        help_text="The six digits that the app shows now.",
    )


def begin(request: HttpRequest, user: User) -> HttpResponse:
    """Remember the user whose password was right, who is not logged in, and ask for the second factor."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    request.session.cycle_key()
    request.session[PENDING] = {
        "user": user.pk,
        "at": time.time(),
        "next": target,
        "hash": user.get_session_auth_hash(),
    }
    return redirect("second_factor")


@never_cache
@sensitive_post_parameters()
def challenge(request: HttpRequest) -> HttpResponseBase:
    """Log the user in if the code is right. Wrong codes are limited and recorded as wrong passwords are."""
    pending = request.session.get(PENDING)
    user = _pending_user(pending)
    if user is None or pending is None:
        request.session.pop(PENDING, None)
        return redirect("admin:login")
    form = CodeForm(request.POST or None)
    if form.is_valid():
        if _passes(request, user, form.cleaned_data["code"]):
            request.session.pop(PENDING)
            login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
            return redirect(_target(request, pending["next"]))
        form.add_error("code", "This code is wrong, or it was used before.")
    return _shown(request, "tenancy/second_factor_challenge.html", form, title="Second factor")


def _pending_user(pending: Any) -> User | None:
    if not pending or not 0 <= time.time() - pending["at"] < PENDING_SECONDS:
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True, is_staff=True).first()
    return user if user is not None and user.get_session_auth_hash() == pending["hash"] else None


def _passes(request: HttpRequest, user: User, code: str) -> bool:
    # Not the counter of passwords, which a right password resets.
    attempt = Attempt(f"second factor of {user.username}", client_address(request.META))
    return limited(attempt, user.username, lambda: second_factor.accepts(user, code), wrong=WRONG)


def _target(request: HttpRequest, target: str) -> str:
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if safe else reverse("admin:index")


@declares(Act.USER_SECOND_FACTOR)
@sensitive_post_parameters()
def own(request: HttpRequest) -> HttpResponseBase:
    """Turn the own second factor on or off. Needs the password, and no permission."""
    user = request.user
    if not isinstance(user, User) or not has_password(request):
        return redirect("admin:account")
    if second_factor.is_on(user):
        return _turn_off(request, user)
    return _turn_on(request, user)


def _turn_off(request: HttpRequest, user: User) -> HttpResponseBase:
    form = OwnForm(request.POST or None)
    if form.is_valid():
        if confirmed(request, form.cleaned_data["password"]):
            second_factor.turn_off(user)
            return redirect("admin:account")
        form.add_error("password", "This is not your password.")
    return _shown(request, "tenancy/second_factor_off.html", form, title="Turn the second factor off")


def _turn_on(request: HttpRequest, user: User) -> HttpResponseBase:
    secret = request.session.setdefault(NEW, second_factor.new_secret())
    form = TurnOnForm(request.POST or None)
    if form.is_valid():
        if not confirmed(request, form.cleaned_data["password"]):
            form.add_error("password", "This is not your password.")
        elif codes := second_factor.turn_on(user, secret, form.cleaned_data["code"]):
            request.session.pop(NEW)
            return _shown(request, "tenancy/second_factor_codes.html", None, title="Recovery codes", codes=codes)
        else:
            form.add_error("code", "This is not the code that the app shows now.")
    link = second_factor.app_link(user, secret)
    picture = SafeString(second_factor.picture(link))  # nosec B703 - squares without text
    return _shown(
        request, "tenancy/second_factor_on.html", form, title="Second factor", secret=secret, link=link, picture=picture
    )


def _shown(request: HttpRequest, template: str, form: forms.Form | None, **context: Any) -> HttpResponse:
    request.current_app = admin.site.name
    context = {**admin.site.each_context(request), "form": form, **context}
    return TemplateResponse(request, template, context, status=400 if form and form.errors else 200)


urlpatterns = [
    path("admin/second-factor/", challenge, name="second_factor"),
    path("admin/second-factor/own/", admin.site.admin_view(own), name="own_second_factor"),
]
