"""The page that asks for the second factor after the password."""

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
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AuthenticationForm
from unfold.widgets import UnfoldAdminTextInputWidget

from tenancy.login import Attempt, limited
from tenancy.origin import client_address
from tenancy.sign_in import own_second_factor, passkeys, second_factor

PENDING: Final = "second_factor"
"""The member of the session between the password and the second factor: who, when, and where they go."""
PENDING_SECONDS: Final = 300


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
    wrong: Final = "This code is wrong, or it was used before."
    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def proves(self, user: User) -> bool:
        return second_factor.accepts(user, self.cleaned_data["code"])


class PasskeyForm(forms.Form):
    wrong: Final = "The passkey was not accepted. Try again, or use a code."
    credential = forms.CharField(max_length=passkeys.LONGEST_RESPONSE)

    def proves(self, user: User) -> bool:
        return passkeys.accepts(user, self.cleaned_data["credential"])


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
    """Log the user in if the code or passkey is right. Wrong ones are limited and recorded as wrong passwords are."""
    pending = request.session.get(PENDING)
    user = _pending_user(pending)
    if user is None or pending is None:
        request.session.pop(PENDING, None)
        return redirect("admin:login")
    form = PasskeyForm(request.POST) if "credential" in request.POST else CodeForm(request.POST or None)
    if form.is_valid():
        # Not the counter of passwords, which a right password resets.
        attempt = Attempt(f"second factor of {user.username}", client_address(request.META))
        if limited(attempt, user.username, lambda: form.proves(user), wrong="The second factor is wrong."):
            request.session.pop(PENDING)
            login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
            return redirect(_target(request, pending["next"]))
        form.add_error(None if isinstance(form, PasskeyForm) else "code", form.wrong)
    return _challenge_page(request, user, form)


def _pending_user(pending: Any) -> User | None:
    if not pending or not 0 <= time.time() - pending["at"] < PENDING_SECONDS:
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True, is_staff=True).first()
    return user if user is not None and user.get_session_auth_hash() == pending["hash"] else None


def _target(request: HttpRequest, target: str) -> str:
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if safe else reverse("admin:index")


def _challenge_page(request: HttpRequest, user: User, form: CodeForm | PasskeyForm) -> HttpResponse:
    request.current_app = admin.site.name
    context = {
        **admin.site.each_context(request),
        "title": "Second factor",
        "form": form if isinstance(form, CodeForm) else CodeForm(),
        "has_app": second_factor.has_app(user),
        "options": passkeys.request_options(user),
        "refusal": form.wrong if isinstance(form, PasskeyForm) and form.errors else "",
    }
    status = 400 if form.errors else 200
    return TemplateResponse(request, "tenancy/second_factor_challenge.html", context, status=status)


urlpatterns = [path("admin/second-factor/", challenge, name="second_factor"), *own_second_factor.urlpatterns]
