"""The pages on which people add and remove their second factors.

They need the person's password, and no permission. People without a password see their account instead.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from tenancy.audit.acts import Act, declares
from tenancy.login import confirmed, has_password
from tenancy.sessions import end_others
from tenancy.sign_in import passkeys, second_factor

NEW: Final = "new_second_factor"
"""The member of the session with the secret that the page shows until the app is added."""
View = Callable[..., HttpResponseBase]


class OwnForm(forms.Form):
    password = forms.CharField(
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"}),
        help_text="Your password, so that no other person can do this at your unlocked screen.",
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST or None)
        self._request = request

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if confirmed(self._request, password) is None:
            raise ValidationError("This is not your password.")
        return password


class AppForm(OwnForm):
    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
        help_text="The six digits that the app shows now.",
    )
    field_order = ("code", "password")


class PasskeyForm(OwnForm):
    name = forms.CharField(
        max_length=passkeys.LONGEST_NAME,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What you call it, such as “Laptop” or “Security key”.",
    )
    credential = forms.CharField(max_length=passkeys.LONGEST_RESPONSE, required=False)
    field_order = ("name", "password")


def _own(view: View) -> Any:
    """Return the page of the admin. People without a password see their account instead."""

    @declares(Act.USER_SECOND_FACTOR)
    @sensitive_post_parameters()
    @wraps(view)
    def page(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        user = request.user
        if not isinstance(user, User) or not has_password(request):
            return redirect("admin:account")
        return view(request, user, **arguments)

    return admin.site.admin_view(page)


def overview(request: HttpRequest, user: User) -> HttpResponseBase:
    methods = [
        {"row": row, "name": second_factor.name_of(row), "icon": _icon(row)} for row in second_factor.methods(user)
    ]
    return _shown(
        request,
        "tenancy/second_factor.html",
        title="Second factor",
        methods=methods,
        may_add_app=not second_factor.has_app(user),
        codes_left=second_factor.codes_left(user),
    )


def _icon(row: Any) -> str:
    return "smartphone" if row.type == second_factor.APP else "passkey"


def add_app(request: HttpRequest, user: User) -> HttpResponseBase:
    if second_factor.has_app(user):
        return redirect("own_second_factor")
    secret = request.session.setdefault(NEW, second_factor.new_secret())
    form = AppForm(request)
    if form.is_valid():
        codes = second_factor.add_app(user, secret, form.cleaned_data["code"])
        if codes is not None:
            request.session.pop(NEW)
            return _added(request, user, codes)
        form.add_error("code", "This is not the code that the app shows now.")
    link = second_factor.app_link(user, secret)
    picture = SafeString(second_factor.picture(link))  # nosec B703 - squares without text
    title = "Add an authenticator app"
    shown = {"title": title, "secret": secret, "link": link, "picture": picture}
    return _shown(request, "tenancy/second_factor_app.html", form, **shown)


def add_passkey(request: HttpRequest, user: User) -> HttpResponseBase:
    form = PasskeyForm(request)
    if form.is_valid():
        try:
            codes = passkeys.add(user, form.cleaned_data["name"], form.cleaned_data["credential"])
        except passkeys.PasskeyRefused as refusal:
            form.add_error(None, str(refusal))
        else:
            return _added(request, user, codes)
    shown = {"title": "Add a passkey", "options": passkeys.creation_options(user), "host": passkeys.host()}
    return _shown(request, "tenancy/second_factor_passkey.html", form, **shown)


def remove(request: HttpRequest, user: User, key: int) -> HttpResponseBase:
    method = get_object_or_404(second_factor.methods(user), pk=key)
    form = OwnForm(request)
    if form.is_valid():
        second_factor.remove(user, method)
        return redirect("own_second_factor")
    name, is_last = second_factor.name_of(method), second_factor.methods(user).count() == 1
    return _shown(
        request, "tenancy/second_factor_remove.html", form, title=f"Remove the {name}", name=name, is_last=is_last
    )


def renew_codes(request: HttpRequest, user: User) -> HttpResponseBase:
    if not second_factor.is_on(user):
        return redirect("own_second_factor")
    form = OwnForm(request)
    if form.is_valid():
        return _codes(request, second_factor.renew_codes(user))
    return _shown(request, "tenancy/second_factor_new_codes.html", form, title="Make new recovery codes")


def _added(request: HttpRequest, user: User, codes: list[str]) -> HttpResponseBase:
    """End the other sessions if this was the first method, which has new recovery codes.

    Someone who knew the password alone may have begun them.
    """
    if codes:
        end_others(user, request.session.session_key or "")
    return _codes(request, codes)


def _codes(request: HttpRequest, codes: list[str]) -> HttpResponseBase:
    if not codes:
        return redirect("own_second_factor")
    return _shown(request, "tenancy/second_factor_codes.html", title="Recovery codes", codes=codes)


def _shown(request: HttpRequest, template: str, form: forms.Form | None = None, **context: Any) -> HttpResponse:
    request.current_app = admin.site.name
    context = {**admin.site.each_context(request), "form": form, **context}
    return TemplateResponse(request, template, context, status=400 if form and form.errors else 200)


urlpatterns = [
    path(f"admin/second-factor/own/{address}", _own(view), name=name)
    for address, view, name in (
        ("", overview, "own_second_factor"),
        ("app/", add_app, "add_app"),
        ("passkey/", add_passkey, "add_passkey"),
        ("<int:key>/remove/", remove, "remove_second_factor"),
        ("recovery-codes/", renew_codes, "renew_recovery_codes"),
    )
]
