"""The page on which users change their own password."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse_lazy
from unfold.forms import AdminOwnPasswordChangeForm

from tenancy import audit
from tenancy.access import actor
from tenancy.login import confirmed


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """Checks the old password as a log-in does, with its limits and its entries in the audit log."""

    def __init__(self, *args: Any, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request = request

    def clean_old_password(self) -> str:
        password: str = self.cleaned_data["old_password"]
        if confirmed(self._request, password) is None:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return password


class OwnPasswordView(PasswordChangeView):
    form_class = OwnPasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        self.request.current_app = admin.site.name
        return {**super().get_context_data(**kwargs), **admin.site.each_context(self.request)}

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.user
        with transaction.atomic():
            response = super().form_valid(form)
            audit.record(
                "user.password", tenant=None, actor=actor(user), object_type="user", object=user.get_username()
            )
        return response
